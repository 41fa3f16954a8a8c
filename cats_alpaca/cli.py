"""The command line: the only place that prints or exits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from . import __version__, path
from .errors import CatsAlpacaError, StoriesError

if TYPE_CHECKING:
    from .stories import Report

_SHOWN_PROBLEMS = 20
_CONFIGS = ("alpaca", "chat", "prompt_completion", "stories")


class _Group(click.Group):
    """Turns our errors and those of the system into one sentence on stderr; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoriesError as error:
            _show_problems(error.report)
        except CatsAlpacaError as error:
            click.echo(f"Error: {error}", err=True)
        except BrokenPipeError:
            # Whoever read our output has enough; the interpreter would complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cats-alpaca build --out release",
)
@click.version_option(__version__, prog_name="cats-alpaca")
def main() -> None:
    """Cat stories in Alpaca form: build the dataset and put it where it is needed."""
    # Blocks of some MB come and go. Arrow's own pools give their memory back and fetch it again, for every block; the
    # system's keeps it, which saves a tenth of the time of a conversion. It is read when pyarrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


_READING = (
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
    click.option("--rejects", metavar="FILE", help="Put bad lines there, as JSONL, and go on without them."),
    click.option("--report", metavar="FILE", help="Put counts and problems there, as JSON, however it went."),
)


def _reading_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_READING):
        command = option(command)
    return command


@main.command(epilog="Example: cats-alpaca convert cats.jsonl cats.parquet --rejects bad.jsonl")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.argument("destination", metavar="DST")
@click.option(
    "--config", type=click.Choice(_CONFIGS), default=_CONFIGS[0], show_default=True, help="Which rows to make."
)
@_reading_options
def convert(sources: tuple[str, ...], destination: str, config: str, **options: Any) -> None:
    """Convert JSONL of questions and answers to one file of rows.

    SRC is a path, a pattern, a URL, or - for standard input; .gz, .bz2, .xz and .zst are read as they are. DST ends in
    .json (an array, as Alpaca's), .jsonl or .parquet. It appears whole or not at all.
    """
    from . import conversion

    try:
        conversion.writer_for(destination)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DST") from None
    with _reading(sources, **options) as reading:
        conversion.convert(sources, destination, config=config, **reading)
    click.echo(destination)


@main.command(epilog="Example: cats-alpaca build --train cats.jsonl --test-fraction 0.1 --out release")
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
@click.option("--out", metavar="DIR", default="release", show_default=True, help="The release folder.")
@click.option("--check", is_flag=True, help="Write nothing; fail when DIR is stale in rows, schema or card.")
@click.option("--force", is_flag=True, help="Write even where README.md or data/ in DIR is not ours.")
@_reading_options
def build(
    train: tuple[str, ...],
    test: tuple[str, ...],
    test_fraction: float | None,
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

    from . import release

    with _reading((*train, *test), **options) as reading:
        what: dict[str, Any] = {
            "train": train or None,
            "test": test or None,
            "out": out,
            "test_fraction": test_fraction or 0.0,
        }
        if check:
            release.check_release(**what, **reading)
            click.echo(f"{out} is up to date")
            return
        facts = release.build(**what, force=force, **reading)
    for config, splits in facts.items():
        rows = "  ".join(f"{split} {found.rows:,} rows, {found.file_bytes:,} bytes" for split, found in splits.items())
        click.echo(f"{os.path.join(out, 'data', config)}: {rows}")
    click.echo(os.path.join(out, "README.md"))


@main.command(epilog="Example: cats-alpaca prepare")
def prepare() -> None:
    """Put the packaged dataset into the cache, so that load_dataset("cats_alpaca") works in any folder."""
    from .builder import prepare as prepare_cache

    click.echo(prepare_cache())


@main.command("path", epilog='Example: ls "$(cats-alpaca path)"')
def print_path() -> None:
    """Print the folder of the packaged release, for any load_dataset."""
    click.echo(path())


@contextmanager
def _reading(
    sources: Sequence[str],
    *,
    from_: str,
    question_key: str | None,
    answer_key: str | None,
    context_key: str | None,
    encoding: str | None,
    max_line_bytes: int,
    rejects: str | None,
    report: str | None,
) -> Iterator[dict[str, Any]]:
    """Turn the reading options into what `read_stories` takes; show a bar, write rejects and report, say the counts."""
    from .conversion import rejects_file
    from .exact import Keys
    from .sources import count_bytes, find_files
    from .stories import ALPACA, STORIES, Report
    from .writing import whole_file

    found = Report()
    given = (question_key, answer_key, context_key)
    keys = Keys(*(key or usual for key, usual in zip(given, ALPACA if from_ == "alpaca" else STORIES, strict=True)))
    if len(set(keys)) < len(keys):
        raise click.UsageError(f"question, answer and context must be three different keys, got {', '.join(keys)}.")
    reading: dict[str, Any] = {"keys": keys, "encoding": encoding, "max_line_bytes": max_line_bytes, "report": found}
    try:
        with ExitStack() as stack:
            if rejects:
                reading["on_problem"] = stack.enter_context(rejects_file(rejects))
            total = count_bytes(find_files(sources))
            hidden = not total or not sys.stderr.isatty()
            bar = click.progressbar(length=total, label="reading", file=sys.stderr, hidden=hidden)
            reading["progress"] = stack.enter_context(bar).update
            yield reading
    finally:
        if report:
            with whole_file(report) as stream:
                stream.write(json.dumps(found.as_dict(), ensure_ascii=False, indent=2).encode() + b"\n")
    _say_counts(found)


def _show_problems(report: Report) -> None:
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if (hidden := report.rejected - _SHOWN_PROBLEMS) > 0:
        click.echo(f"and {hidden:,} more", err=True)
    _say_counts(report)


def _say_counts(report: Report) -> None:
    click.echo(f"{report.read:,} lines read = {report.kept:,} kept + {report.rejected:,} rejected", err=True)
