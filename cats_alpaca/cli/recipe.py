"""`cats-alpaca recipe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import path, recipes


@click.command(epilog="Example: cats-alpaca recipe trl --repo someone/cats --revision v1.0.0 > train.py")
@click.argument("trainer", type=click.Choice(list(recipes.RECIPES)), required=False)
@click.option("--repo", metavar="ID", help="A Hub repository or a folder. [default: the packaged release]")
@click.option("--model", metavar="M", help="A model's name or folder. [default: an example, named in the recipe]")
@click.option("--revision", metavar="REV", help="A tag or commit of the repository, so that its rows never change.")
@click.option("--list", "only_list", is_flag=True, help="List the trainers, with the config that each one reads.")
def recipe(trainer: str | None, repo: str | None, model: str | None, revision: str | None, only_list: bool) -> None:
    """Print a recipe that trains a model on the dataset, ready to run."""
    if only_list:
        for name, found in recipes.RECIPES.items():
            click.echo(f"{name:14} {found.config:18} {found.title}: {found.run.format(model='MODEL')}")
        return
    if trainer is None:
        raise click.UsageError("Name a trainer, or ask for the --list.")
    if revision and (repo is None or Path(repo).is_dir()):
        raise click.UsageError("--revision needs --repo with the name of a Hub repository.")
    looked: dict[str, Any] = {}
    if repo and Path(repo).is_dir() and (splits := _splits(Path(repo))):
        looked = {"rows": splits.get("train"), "test": "test" in splits, "length": _length(Path(repo))}
    # Of a repository that nobody looked into, the usual is said.
    click.echo(recipes.render(trainer, repo or str(path()), model, revision, **looked), nl=False)


def _splits(release: Path) -> dict[str, int]:
    """Count the rows of a release folder's splits; none where it is no release."""
    from ..card import read_facts

    return {split: found.rows for split, found in read_facts(release).get("alpaca", {}).items()}


def _length(release: Path) -> int:
    """Give the length that the recipes in a release's card have."""
    from ..card.text import length_in

    card = release / "README.md"
    return length_in(card.read_text("utf-8", errors="replace") if card.is_file() else "")
