"""`cats-alpaca build`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from .reading import BAD_LINES, READING, SHARDS, keep_apart, reading_stories, with_options


@contextmanager
def _saying_what_is_kept(out: str) -> Iterator[None]:
    """Say how a build that breaks off can go on."""
    try:
        yield
    except BaseException:
        from ..release import UNFINISHED

        if "://" not in out and os.path.exists(folder := os.path.join(out, UNFINISHED)):
            click.echo(f"{folder} keeps what is finished; go on with --resume", err=True)
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
    "--out", metavar="DIR", default="release", show_default=True, help="The release folder, or its URL (s3://…)."
)
@click.option("--check", is_flag=True, help="Write nothing; fail when DIR is stale in rows, schema or card.")
@click.option("--force", is_flag=True, help="Write even where README.md or data/ in DIR is not ours.")
@click.option("--resume", is_flag=True, help="Keep what a stopped build of the same stories finished.")
@with_options(*SHARDS, *READING, *BAD_LINES)
def build(
    train: tuple[str, ...],
    test: tuple[str, ...],
    test_fraction: float | None,
    out: str,
    check: bool,
    force: bool,
    resume: bool,
    max_shard_size: int,
    threads: int | None,
    **options: Any,
) -> None:
    """Make a release folder: README.md and Parquet files, ready to load by path or to publish."""
    if test_fraction and test:
        raise click.UsageError("--test and --test-fraction exclude each other.")
    if not train and (test or test_fraction):
        raise click.UsageError("--test and --test-fraction need --train.")

    if "://" in out and (check or resume):
        raise click.UsageError("--check and --resume need a folder of this machine.")

    from .. import release

    keep_apart((*train, *test), os.path.join(out, "README.md"), options["rejects"], options["report"])
    with reading_stories((*train, *test), **options) as reading:
        what: dict[str, Any] = {
            "train": train or None,
            "test": test or None,
            "out": out,
            "test_fraction": test_fraction or 0.0,
            "max_shard_size": max_shard_size,
            "threads": threads,
        }
        if check:
            release.check_release(**what, **reading)
            click.echo(f"{out} is up to date")
            return
        with _saying_what_is_kept(out):
            facts = release.build(**what, force=force, resume=resume, **reading)
    for config, splits in facts.items():
        rows = "  ".join(f"{split} {found.rows:,} rows, {found.file_bytes:,} bytes" for split, found in splits.items())
        click.echo(f"{os.path.join(out, 'data', config)}: {rows}")
    click.echo(os.path.join(out, "README.md"))
