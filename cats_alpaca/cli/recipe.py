"""`cats-alpaca recipe`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import path, recipes


def _list(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        for name, recipe in recipes.RECIPES.items():
            click.echo(f"{name:14} {recipe.config:18} {recipe.title}: {recipe.run}")
        ctx.exit()


@click.command(epilog="Example: cats-alpaca recipe trl --repo someone/cats --revision v1.0.0 > train.py")
@click.argument("trainer", type=click.Choice(list(recipes.RECIPES)))
@click.option("--repo", metavar="ID", help="A Hub repository or a folder. [default: the packaged release]")
@click.option("--model", metavar="M", help="A model's name or folder. [default: an example, named in the recipe]")
@click.option("--revision", metavar="REV", help="A tag or commit of the repository, so that its rows never change.")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List the trainers.")
def recipe(trainer: str, repo: str | None, model: str | None, revision: str | None) -> None:
    """Print a recipe that trains a model on the dataset, ready to run."""
    if revision and (repo is None or Path(repo).is_dir()):
        raise click.UsageError("--revision needs --repo with the name of a Hub repository.")
    click.echo(recipes.render(trainer, repo or str(path()), model, revision), nl=False)
