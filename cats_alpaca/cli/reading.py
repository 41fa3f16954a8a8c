"""What the commands that read stories share: options, progress, rejects, report, counts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..stories import Report

_SHOWN_PROBLEMS = 20
CONFIGS = ("alpaca", "chat", "prompt_completion", "stories")

READING = (
    click.option(
        "--from",
        "from_",
        type=click.Choice(["stories", "alpaca"]),
        default="stories",
        show_default=True,
        help="The keys of a record: question, answer, context; or instruction, output, input.",
    ),
    click.option("--question-key", metavar="K", help="What the question is called."),
    click.option("--answer-key", metavar="K", help="What the answer is called."),
    click.option("--context-key", metavar="K", help="What the context is called."),
    click.option("--encoding", metavar="E", help="Of files without a byte-order mark. [default: utf-8]"),
    click.option(
        "--max-line-bytes",
        metavar="N",
        type=click.IntRange(min=1),
        default=16 << 20,
        show_default=True,
        help="A longer line is a bad line.",
    ),
)


def _size(value: str) -> int:
    """Read a number of bytes as people write it: 500MB, 2GiB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i)?B?", value, re.IGNORECASE)
    power = "KMGT".index(found[2].upper()) + 1 if found and found[2] else 0
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** power) if found else 0
    if not size:
        raise click.BadParameter(f"{value!r} is no size; write one like 500MB or 2GiB")
    return size


SHARD_SIZE = click.option(
    "--max-shard-size",
    metavar="SIZE",
    type=_size,
    default="500MB",
    show_default=True,
    help="How much JSONL becomes one shard; doubled up to 32 GB until there are at most 100 files.",
)
SHARDS = (
    SHARD_SIZE,
    click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(min=1),
        help="How many compute at the same time; changes no byte. [default: one a processor]",
    ),
)
BAD_LINES = (
    click.option("--rejects", metavar="FILE", help="Put bad lines there, as JSONL, and go on without them."),
    click.option("--report", metavar="FILE", help="Put counts and problems there, as JSON, however it went."),
)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add several options to a command."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@contextmanager
def reading_stories(
    sources: Sequence[str],
    *,
    rejects: str | None,
    report: str | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Turn the reading options into what `read_stories` takes; show a bar, write rejects and report, say the counts."""
    from ..conversion import rejects_file
    from ..stories import Report
    from ..writing import whole_file

    found = Report()
    reading = {**how_to_read(**options), "report": found}
    try:
        with ExitStack() as stack:
            if rejects:
                reading["on_problem"] = stack.enter_context(rejects_file(rejects))
            reading["progress"] = stack.enter_context(progress_bar(sources)).update
            yield reading
    finally:
        if report:
            with whole_file(report) as stream:
                stream.write(
                    json.dumps(found.as_dict(), ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
                    + b"\n"
                )
    _say_counts(found)


def keep_apart(sources: Sequence[str], *written: str | None) -> None:
    """Refuse to write one file over another that this command reads or writes."""
    taken = {os.path.realpath(source) for source in sources}
    for name in filter(None, written):
        place = os.path.realpath(name)
        if place in taken:
            raise click.UsageError(f"{name} is read or written by this command already; name another file.")
        taken.add(place)


def how_to_read(
    from_: str,
    question_key: str | None,
    answer_key: str | None,
    context_key: str | None,
    encoding: str | None,
    max_line_bytes: int,
) -> dict[str, Any]:
    """Turn the reading options into what every reader takes."""
    from ..exact import Keys
    from ..stories import ALPACA, STORIES

    given = (question_key, answer_key, context_key)
    keys = Keys(*(key or usual for key, usual in zip(given, ALPACA if from_ == "alpaca" else STORIES, strict=True)))
    if len(set(keys)) < len(keys):
        raise click.UsageError(f"question, answer and context must be three different keys, got {', '.join(keys)}.")
    return {"keys": keys, "encoding": encoding, "max_line_bytes": max_line_bytes}


def progress_bar(sources: Sequence[str]) -> Any:
    """Make a progress bar by bytes; a hidden one where nobody would see it."""
    from ..sources import count_bytes, find_files

    total = count_bytes(find_files(sources))
    hidden = not total or not sys.stderr.isatty()
    return click.progressbar(length=total, label="reading", file=sys.stderr, hidden=hidden)


def show_problems(report: Report) -> None:
    """Print the first bad lines and the counts."""
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if (hidden := report.rejected - _SHOWN_PROBLEMS) > 0:
        click.echo(f"and {hidden:,} more", err=True)
    _say_counts(report)


def _say_counts(report: Report) -> None:
    click.echo(f"{report.read:,} lines read = {report.kept:,} kept + {report.rejected:,} rejected", err=True)
