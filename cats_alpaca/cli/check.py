"""`cats-alpaca check`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from .reading import READING, how_to_read, keep_apart, progress_bar, with_options

if TYPE_CHECKING:
    from ..checks import Outcome

_SHOWN_FINDINGS = 100
_CODES = (
    "invalid-json", "not-an-object", "two-values", "duplicate-key", "missing-key", "wrong-type", "null", "blank",
    "invalid-encoding", "lone-surrogate", "line-too-long", "no-stories",
)  # fmt: skip


@click.command(epilog="Example: cats-alpaca check cats.jsonl --fail-on warning --ignore link,echo")
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
@click.option(
    "--engine",
    type=click.Choice(["threads", "ray"]),
    default="threads",
    show_default=True,
    help="Who computes: this machine, or a Ray cluster, to which it sends the stories.",
)
@click.option("--ray-address", metavar="A", help="The cluster's. [default: $RAY_ADDRESS, or a Ray on this machine]")
@with_options(*READING)
def check(
    sources: tuple[str, ...],
    train: tuple[str, ...],
    test: tuple[str, ...],
    report: str | None,
    fail_on: str,
    ignore: str,
    write_clean: str | None,
    engine: str,
    ray_address: str | None,
    **options: Any,
) -> None:
    """Check stories before anybody trains on them: the packaged ones, or SRC, or two splits.

    Looks for defects of Alpaca data, duplicates and leaks between the splits, personal data, answers that are not
    Japanese, and poisons named without a warning; and tells the shape of the data.
    """
    from .. import checks

    files = [*sources, *train, *test]
    if (sources and (train or test)) or (test and not train):
        raise click.UsageError("name either SRC, or --train and --test.")
    if "-" in files:
        raise click.UsageError("check reads its sources twice; put standard input into a file.")
    if write_clean and not sources:
        raise click.UsageError("--write-clean needs SRC.")
    if ray_address and engine != "ray":
        raise click.UsageError("--ray-address needs --engine ray.")
    keep_apart(files, report, write_clean)
    ignored = [rule.strip() for rule in ignore.split(",") if rule.strip()]
    if unknown := [rule for rule in ignored if rule not in {*checks.RULES, *_CODES}]:
        raise click.BadParameter(f"there is no rule {unknown[0]!r}", param_hint="--ignore")
    what: dict[str, Any] = {"sources": sources or None, "train": train or None, "test": test or None, "ignore": ignored}
    where: dict[str, Any] = {"engine": engine, "ray_address": ray_address}
    # Ray says on standard output which node died: that is no result.
    with progress_bar(files) as bar, redirect_stdout(sys.stderr):
        outcome = checks.examine(**what, **how_to_read(**options), progress=bar.update, **where)
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


def _write_report(report: str, outcome: Outcome) -> None:
    from ..writing import whole_file

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
