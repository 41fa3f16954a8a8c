"""The command line: the only place that prints or exits."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from . import __version__, path
from .errors import CatsAlpacaError, StoriesError

if TYPE_CHECKING:
    from .stories import Report

_SHOWN_PROBLEMS = 20


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


@main.command(epilog="Example: cats-alpaca build --train cats.jsonl --test-fraction 0.1 --out release")
@click.option(
    "--train",
    "train",
    metavar="SRC",
    multiple=True,
    help="JSONL of the train split; may be repeated. [default: the packaged stories]",
)
@click.option("--test", "test", metavar="SRC", multiple=True, help="JSONL of the test split; may be repeated.")
@click.option(
    "--test-fraction",
    metavar="F",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Make this share of --train the test split; adding stories moves no old one.",
)
@click.option("--out", metavar="DIR", default="release", show_default=True, help="The release folder.")
@click.option("--check", is_flag=True, help="Write nothing; fail when DIR is stale in rows, schema or card.")
@click.option("--force", is_flag=True, help="Write even where README.md or data/ in DIR is not ours.")
def build(
    train: tuple[str, ...], test: tuple[str, ...], test_fraction: float | None, out: str, check: bool, force: bool
) -> None:
    """Make a release folder: README.md and Parquet files, ready to load by path or to publish."""
    if test_fraction and test:
        raise click.UsageError("--test and --test-fraction exclude each other.")
    if not train and (test or test_fraction):
        raise click.UsageError("--test and --test-fraction need --train.")

    from . import release
    from .stories import Report

    report = Report()
    options: dict[str, Any] = {
        "train": train or None,
        "test": test or None,
        "out": out,
        "test_fraction": test_fraction or 0.0,
        "report": report,
    }
    if check:
        release.check(**options)
        click.echo(f"{out} is up to date")
        return
    facts = release.build(**options, force=force)
    _say_counts(report)
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


def _show_problems(report: Report) -> None:
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        click.echo(problem, err=True)
    if (hidden := report.rejected - _SHOWN_PROBLEMS) > 0:
        click.echo(f"and {hidden:,} more", err=True)
    _say_counts(report)


def _say_counts(report: Report) -> None:
    click.echo(f"{report.read:,} lines read = {report.kept:,} kept + {report.rejected:,} rejected", err=True)
