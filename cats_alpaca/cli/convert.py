"""`cats-alpaca convert`."""

from __future__ import annotations

from typing import Any

import click

from .reading import BAD_LINES, CONFIGS, READING, keep_apart, reading_stories, with_options


@click.command(epilog="Example: cats-alpaca convert cats.jsonl cats.parquet --rejects bad.jsonl")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.argument("destination", metavar="DST")
@click.option("--config", type=click.Choice(CONFIGS), default=CONFIGS[0], show_default=True, help="Which rows to make.")
@with_options(*READING, *BAD_LINES)
def convert(sources: tuple[str, ...], destination: str, config: str, **options: Any) -> None:
    """Convert JSONL of questions and answers to one file of rows.

    SRC is a path, a pattern, a URL, or - for standard input; .gz, .bz2, .xz and .zst are read as they are. DST ends in
    .json (an array, as Alpaca's), .jsonl or .parquet. It appears whole or not at all.
    """
    from .. import conversion

    try:
        conversion.writer_for(destination)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DST") from None
    keep_apart(sources, destination, options["rejects"], options["report"])
    with reading_stories(sources, **options) as reading:
        conversion.convert(sources, destination, config=config, **reading)
    click.echo(destination)
