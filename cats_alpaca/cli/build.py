"""`cats-alpaca build`."""

from __future__ import annotations

import os
from typing import Any

import click

from .reading import BAD_LINES, READING, keep_apart, reading_stories, with_options


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
@click.option("--out", metavar="DIR", default="release", show_default=True, help="The release folder.")
@click.option("--check", is_flag=True, help="Write nothing; fail when DIR is stale in rows, schema or card.")
@click.option("--force", is_flag=True, help="Write even where README.md or data/ in DIR is not ours.")
@with_options(*READING, *BAD_LINES)
def build(
    train: tuple[str, ...],
    test: tuple[str, ...],
    test_fraction: float | None,
    feedback: str | None,
    out: str,
    check: bool,
    force: bool,
    **options: Any,
) -> None:
    """Make a release folder: README.md and Parquet files, ready to load by path or to publish."""
    if test_fraction and test:
        raise click.UsageError("--test and --test-fraction exclude each other.")
    if not train and (test or test_fraction):
        raise click.UsageError("--test and --test-fraction need --train.")

    from .. import release
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
        }
        if check:
            release.check_release(**what, **reading)
            click.echo(f"{out} is up to date")
            return
        facts = release.build(**what, force=force, **reading)
    if feedback:
        _show_feedback(feedback)
    if refused := {code: reading["report"].by_code[code] for code in REFUSALS if reading["report"].by_code[code]}:
        click.echo(f"of the rejected: {', '.join(f'{code} {count:,}' for code, count in refused.items())}", err=True)
    for config, splits in facts.items():
        rows = "  ".join(f"{split} {found.rows:,} rows, {found.file_bytes:,} bytes" for split, found in splits.items())
        click.echo(f"{os.path.join(out, 'data', config)}: {rows}")
    click.echo(os.path.join(out, "README.md"))


def _show_feedback(feedback: str) -> None:
    from ..feedback import open_store
    from ..feedback.export import collect
    from .feedback import show_given

    with open_store(feedback, create=False) as store:
        show_given(collect(store))
