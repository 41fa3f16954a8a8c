"""`cats-alpaca build`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

import click

from .reading import BAD_LINES, READING, SHARDS, keep_apart, reading_stories, with_options


@contextmanager
def _saying_what_is_kept(out: str) -> Iterator[None]:
    """Say how a build that breaks off can go on."""
    try:
        yield
    except BaseException:
        from ..workshop import kept_by

        with suppress(Exception):  # what went wrong first is what counts
            if place := kept_by(out):
                click.echo(f"{place} keeps what is finished; go on with --resume", err=True)
        raise


@click.command(epilog="Example: cats-alpaca build --train cats.jsonl --test-fraction 0.1 --out release")
@click.option(
    "--train",
    metavar="SRC",
    multiple=True,
    help="JSONL of the train split; may be repeated. [default: the packaged stories]",
)
@click.option("--test", metavar="SRC", multiple=True, help="JSONL of the test split; may be repeated.")
@click.option(
    "--test-fraction",
    metavar="F",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Make this share of --train the test split; adding stories moves no old one.",
)
@click.option(
    "--feedback",
    metavar="FILE",
    help="A feedback store: what may leave it joins the train split, and what was taken back is left out of all.",
)
@click.option(
    "--out", metavar="DIR", default="release", show_default=True, help="The release folder, or its URL (s3://…)."
)
@click.option("--title", metavar="T", help="The card's title. [default: the name of DIR]")
@click.option("--license", metavar="ID", help="The rows' licence, as the Hub names it: cc-by-4.0, mit, other.")
@click.option("--language", metavar="CODE", multiple=True, help="A language of the rows: ja, en; may be repeated.")
@click.option("--card-config", metavar="FILE", help="YAML or JSON with more of what the card shall say.")
@click.option("--check", is_flag=True, help="Write nothing; fail when DIR is stale: rows, schema, card or pictures.")
@click.option("--force", is_flag=True, help="Write even where README.md or data/ in DIR is not ours.")
@click.option("--resume", is_flag=True, help="Keep what a stopped build of the same stories finished.")
@click.option(
    "--engine",
    type=click.Choice(["threads", "ray"]),
    default="threads",
    show_default=True,
    help="Who computes: this machine, or a Ray cluster whose nodes all see SRC and DIR: in shared folders, or as URLs.",
)
@click.option("--ray-address", metavar="A", help="The cluster's. [default: $RAY_ADDRESS, or a Ray on this machine]")
@with_options(*SHARDS, *READING, *BAD_LINES)
def build(
    train: tuple[str, ...],
    test: tuple[str, ...],
    test_fraction: float | None,
    feedback: str | None,
    out: str,
    card_config: str | None,
    check: bool,
    force: bool,
    resume: bool,
    max_shard_size: int,
    threads: int | None,
    engine: str,
    ray_address: str | None,
    **options: Any,
) -> None:
    """Make a release folder: a card, pictures and Parquet files, ready to load by path or to publish.

    What you write into README.md outside the markers stays, and so does what was said of its card before.
    """
    said = {name: value for name in ("title", "license", "language") if (value := options.pop(name))}
    if test_fraction and test:
        raise click.UsageError("--test and --test-fraction exclude each other.")
    if not train and (test or test_fraction):
        raise click.UsageError("--test and --test-fraction need --train.")
    if not train and (said or card_config):
        raise click.UsageError("--title, --license, --language and --card-config need --train.")

    if "://" in out and check:
        raise click.UsageError("--check needs a folder of this machine.")
    if engine == "ray" and check:
        raise click.UsageError("--check builds nothing that a cluster could help with; leave --engine out.")
    if ray_address and engine != "ray":
        raise click.UsageError("--ray-address needs --engine ray.")

    from .. import card, release
    from ..stories import REFUSALS

    keep_apart(
        (*train, *test, *filter(None, [feedback])),
        os.path.join(out, "README.md"),
        options["rejects"],
        options["report"],
    )
    with reading_stories((*train, *test), **options) as reading:
        what: dict[str, Any] = {
            "train": train or None,
            "test": test or None,
            "out": out,
            "test_fraction": test_fraction or 0.0,
            "feedback": feedback,
            "fields": {**(card.read_fields(card_config) if card_config else {}), **said},
            "max_shard_size": max_shard_size,
            "threads": threads,
        }
        if check:
            release.check_release(**what, **reading)
            click.echo(f"{out} is up to date")
            return
        # Ray says on standard output which node died: that is no result.
        with _saying_what_is_kept(out), redirect_stdout(sys.stderr):
            where: dict[str, Any] = {"engine": engine, "ray_address": ray_address}
            facts = release.build(**what, force=force, resume=resume, **where, **reading)
    if feedback:
        _show_feedback(feedback)
    if refused := {code: reading["report"].by_code[code] for code in REFUSALS if reading["report"].by_code[code]}:
        click.echo(f"of the rejected: {', '.join(f'{code} {count:,}' for code, count in refused.items())}", err=True)
    for config, splits in facts.items():
        rows = "  ".join(f"{split} {found.rows:,} rows, {found.file_bytes:,} bytes" for split, found in splits.items())
        click.echo(f"{os.path.join(out, 'data', config)}: {rows}")
    readme = os.path.join(out, "README.md")
    click.echo(readme)
    if test_fraction and "test" not in facts["alpaca"]:
        stories = facts["alpaca"]["train"].rows
        click.echo(
            f"Warning: --test-fraction {test_fraction:g} of {stories:,} stories gave none to the test split, so there "
            "is no such split; take a larger fraction, or name a file with --test",
            err=True,
        )
    _say_what_is_missing(readme)


def _say_what_is_missing(readme: str) -> None:
    import fsspec

    from .. import card

    with fsspec.open(readme, "r", encoding="utf-8") as stream:
        told = card.told_by(stream.read())
    if "license" not in told:
        click.echo("The card names no licence, so push will refuse this release: build it with --license", err=True)
    if not card.tokens.available():
        click.echo(
            "The card has no table of tokens: for one, pip install 'cats_alpaca[tokens]' and build again", err=True
        )


def _show_feedback(feedback: str) -> None:
    from ..feedback import open_store
    from ..feedback.export import collect
    from .feedback import show_given

    with open_store(feedback, create=False) as store:
        show_given(collect(store))
