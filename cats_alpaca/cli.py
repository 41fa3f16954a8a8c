"""The command line: the only place that prints or exits."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from . import __version__, path
from .errors import CatsAlpacaError, StoriesError

if TYPE_CHECKING:
    from .checks import Outcome
    from .stories import Report

_SHOWN_PROBLEMS = 20
_SHOWN_FINDINGS = 100
_CODES = (
    "invalid-json", "not-an-object", "two-values", "duplicate-key", "missing-key", "wrong-type", "null", "blank",
    "invalid-encoding", "lone-surrogate", "line-too-long", "no-stories",
)  # fmt: skip
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
)
_BAD_LINES = (
    click.option("--rejects", metavar="FILE", help="Put bad lines there, as JSONL, and go on without them."),
    click.option("--report", metavar="FILE", help="Put counts and problems there, as JSON, however it went."),
)


def _options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@main.command(epilog="Example: cats-alpaca convert cats.jsonl cats.parquet --rejects bad.jsonl")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.argument("destination", metavar="DST")
@click.option(
    "--config", type=click.Choice(_CONFIGS), default=_CONFIGS[0], show_default=True, help="Which rows to make."
)
@_options(*_READING, *_BAD_LINES)
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
    _keep_apart(sources, destination, options["rejects"], options["report"])
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
@_options(*_READING, *_BAD_LINES)
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

    _keep_apart((*train, *test), os.path.join(out, "README.md"), options["rejects"], options["report"])
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


@main.command(epilog="Example: cats-alpaca check cats.jsonl --fail-on warning --ignore link,echo")
@click.argument("sources", metavar="[SRC]...", nargs=-1)
@click.option("--train", metavar="SRC", multiple=True, help="Stories of the train split; may be repeated.")
@click.option(
    "--test", metavar="SRC", multiple=True, help="Stories of the test split, compared with --train for leaks."
)
@click.option("--report", metavar="FILE", help="Put all findings and the shape there, as JSON.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="Exit with 1 for these.",
)
@click.option("--ignore", metavar="ID,...", default="", help="Rules that are not to be looked at.")
@click.option("--write-clean", metavar="DST", help="Put the lines without findings at that level there, as they are.")
@_options(*_READING)
def check(
    sources: tuple[str, ...],
    train: tuple[str, ...],
    test: tuple[str, ...],
    report: str | None,
    fail_on: str,
    ignore: str,
    write_clean: str | None,
    **options: Any,
) -> None:
    """Check stories before anybody trains on them: the packaged ones, or SRC, or two splits.

    Looks for defects of Alpaca data, duplicates and leaks between the splits, personal data, answers that are not
    Japanese, and poisons named without a warning; and tells the shape of the data.
    """
    from . import checks

    files = [*sources, *train, *test]
    if (sources and (train or test)) or (test and not train):
        raise click.UsageError("name either SRC, or --train and --test.")
    if "-" in files:
        raise click.UsageError("check reads its sources twice; put standard input into a file.")
    if write_clean and not sources:
        raise click.UsageError("--write-clean needs SRC.")
    _keep_apart(files, report, write_clean)
    ignored = [rule.strip() for rule in ignore.split(",") if rule.strip()]
    if unknown := [rule for rule in ignored if rule not in {*checks.RULES, *_CODES}]:
        raise click.BadParameter(f"there is no rule {unknown[0]!r}", param_hint="--ignore")
    what: dict[str, Any] = {"sources": sources or None, "train": train or None, "test": test or None, "ignore": ignored}
    with _bar(files) as bar:
        outcome = checks.examine(**what, **_how_to_read(**options), progress=bar.update)
    if report:
        _write_report(report, outcome)
    _show_findings(outcome)
    level = checks.SEVERITIES.index(fail_on)
    grave = [one for one in outcome.findings if checks.SEVERITIES.index(one.severity) >= level]
    if write_clean:
        kept, left_out = checks.write_clean(sources, write_clean, grave, encoding=options["encoding"])
        click.echo(f"{write_clean}: {kept:,} lines kept, {left_out:,} left out", err=True)
    if grave:
        sys.exit(1)


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
    rejects: str | None,
    report: str | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Turn the reading options into what `read_stories` takes; show a bar, write rejects and report, say the counts."""
    from .conversion import rejects_file
    from .stories import Report
    from .writing import whole_file

    found = Report()
    reading = {**_how_to_read(**options), "report": found}
    try:
        with ExitStack() as stack:
            if rejects:
                reading["on_problem"] = stack.enter_context(rejects_file(rejects))
            reading["progress"] = stack.enter_context(_bar(sources)).update
            yield reading
    finally:
        if report:
            with whole_file(report) as stream:
                stream.write(
                    json.dumps(found.as_dict(), ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
                    + b"\n"
                )
    _say_counts(found)


def _keep_apart(sources: Sequence[str], *written: str | None) -> None:
    """Refuse to write one file over another that this command reads or writes."""
    taken = {os.path.realpath(source) for source in sources}
    for name in filter(None, written):
        place = os.path.realpath(name)
        if place in taken:
            raise click.UsageError(f"{name} is read or written by this command already; name another file.")
        taken.add(place)


def _how_to_read(
    from_: str,
    question_key: str | None,
    answer_key: str | None,
    context_key: str | None,
    encoding: str | None,
    max_line_bytes: int,
) -> dict[str, Any]:
    from .exact import Keys
    from .stories import ALPACA, STORIES

    given = (question_key, answer_key, context_key)
    keys = Keys(*(key or usual for key, usual in zip(given, ALPACA if from_ == "alpaca" else STORIES, strict=True)))
    if len(set(keys)) < len(keys):
        raise click.UsageError(f"question, answer and context must be three different keys, got {', '.join(keys)}.")
    return {"keys": keys, "encoding": encoding, "max_line_bytes": max_line_bytes}


def _bar(sources: Sequence[str]) -> Any:
    """Make a progress bar by bytes; a hidden one where nobody would see it."""
    from .sources import count_bytes, find_files

    total = count_bytes(find_files(sources))
    hidden = not total or not sys.stderr.isatty()
    return click.progressbar(length=total, label="reading", file=sys.stderr, hidden=hidden)


def _show_problems(report: Report) -> None:
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if (hidden := report.rejected - _SHOWN_PROBLEMS) > 0:
        click.echo(f"and {hidden:,} more", err=True)
    _say_counts(report)


def _write_report(report: str, outcome: Outcome) -> None:
    from .writing import whole_file

    by_rule = Counter(one.rule for one in outcome.findings)
    found = [one._asdict() for one in outcome.findings]
    content = {"stories": outcome.stories, "by_rule": by_rule, "findings": found, "shape": outcome.shape}
    with whole_file(report) as stream:
        stream.write(json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n")


_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def _show_findings(outcome: Outcome) -> None:
    """Print the findings, a table of the shape, and how many there are of each."""
    for one in outcome.findings[:_SHOWN_FINDINGS]:
        text = str(one).replace(one.severity, click.style(one.severity, fg=_COLOURS[one.severity]), 1)
        click.echo(text if one.story.isprintable() else text.replace(one.story, repr(one.story)))
    if (hidden := len(outcome.findings) - _SHOWN_FINDINGS) > 0:
        click.echo(f"and {hidden:,} more; --report FILE has them all")
    click.echo(
        f"\n{'split':6}{'topic':13}{'stories':>8}{'context':>9}{'own':>6}{'others':>8}{'question':>16}{'answer':>18}"
    )
    for row in outcome.shape:
        question, answer = ("–".join(f"{length:,}" for length in row[name]) for name in ("question", "answer"))
        shares = f"{row['context']:>9.0%}{row['own']:>6.0%}{row['others']:>8.0%}"
        topic = row["topic"] if row["topic"].isprintable() else repr(row["topic"])
        click.echo(f"{row['split']:6}{topic:13}{row['stories']:>8,}{shares}{question:>16}{answer:>18}")
    click.echo("question and answer: characters, 5th, 50th and 95th percentile\n")
    counts = Counter(one.severity for one in outcome.findings)
    rules = ", ".join(
        f"{rule} {count:,}" for rule, count in Counter(one.rule for one in outcome.findings).most_common()
    )
    totals = ", ".join(f"{counts[severity]:,} {severity}s" for severity in ("error", "warning", "note"))
    click.echo(f"{outcome.stories:,} stories: {totals}" + (f" ({rules})" if rules else ""))


def _say_counts(report: Report) -> None:
    click.echo(f"{report.read:,} lines read = {report.kept:,} kept + {report.rejected:,} rejected", err=True)
