"""`cats-alpaca convert`."""

from __future__ import annotations

import os
from typing import Any

import click

from .reading import BAD_LINES, CONFIGS, READING, SHARDS, keep_apart, reading_stories, with_options


@click.command(epilog="Example: cats-alpaca convert cats.jsonl cats.parquet --rejects bad.jsonl")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.argument("destination", metavar="DST")
@click.option("--config", type=click.Choice(CONFIGS), default=CONFIGS[0], show_default=True, help="Which rows to make.")
@with_options(*SHARDS, *READING, *BAD_LINES)
def convert(
    sources: tuple[str, ...], destination: str, config: str, max_shard_size: int, threads: int | None, **options: Any
) -> None:
    """Convert JSONL of questions and answers to one file of rows, or to a folder of shards.

    SRC is a path, a pattern, a URL, or - for standard input; .gz, .bz2, .xz and .zst are read as they are. DST ends in
    .json (an array, as Alpaca's), .jsonl or .parquet, and appears whole or not at all; or it is a folder (one that is
    there, or a name that ends in /), which gets train-NNNNN-of-NNNNN.parquet, made on all processors.
    """
    from .. import conversion

    if _is_folder(destination):
        keep_apart(sources, options["rejects"], options["report"])
        with reading_stories(sources, **options) as reading:
            conversion.convert_to_folder(
                sources, destination, config=config, max_shard_size=max_shard_size, threads=threads, **reading
            )
        click.echo(destination)
        return
    try:
        conversion.writer_for(destination)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DST") from None
    keep_apart(sources, destination, options["rejects"], options["report"])
    with reading_stories(sources, **options) as reading:
        conversion.convert(sources, destination, config=config, **reading)
    click.echo(destination)


def _is_folder(destination: str) -> bool:
    """Say whether shards go there; a folder with the name of a file is a mistake."""
    return destination.endswith("/") or (
        os.path.isdir(destination) and not destination.endswith((".json", ".jsonl", ".parquet"))
    )
