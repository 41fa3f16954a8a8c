"""`cats-alpaca push`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..hub import Plan, Push

_SHOWN_LINES = 40
_SHOWN_IDS = 12


@click.command(epilog="Example: cats-alpaca push you/cats_alpaca --dry-run")
@click.argument("repo_id", metavar="REPO_ID")
@click.option("--from", "folder", metavar="DIR", help="The release folder. [default: the packaged release]")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing. Works offline too.")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option("--create-pr", is_flag=True, help="Propose the commit as a pull request.")
@click.option("--revision", metavar="BRANCH", default="main", show_default=True, help="The branch.")
@click.option("--tag", metavar="vX.Y.Z", help="Set this tag on the commit, when all is well.")
@click.option("--message", metavar="M", help="The commit's first line.")
@click.option("--token", metavar="T", help="Instead of that of HF_TOKEN or `hf auth login`.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--delete-script", is_flag=True, help="Remove a script that keeps datasets 4 and newer from loading it.")
@click.option(
    "--verify",
    type=click.Choice(["full", "sample"]),
    default="full",
    show_default=True,
    help="Load all of it again from the Hub, or footers and one file a config and split.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=60,
    show_default=True,
    help="Give up on a request that is silent for so long.",
)
def push(repo_id: str, dry_run: bool, yes: bool, verify: str, token: str | None, **options: Any) -> None:
    """Publish a release on the Hugging Face Hub, in one commit.

    Shows what would change and asks. The repository shows the old state or the new one, never a mixture; what is there
    already is not sent again. Afterwards everything is loaded from the Hub and compared with what was sent.
    """
    from ..errors import CatsAlpacaError

    if not (dry_run or yes or (sys.stdin and sys.stdin.isatty())):
        raise click.UsageError("nobody can be asked here: look at --dry-run first, then push with --yes.")
    if options["create_pr"] and options["tag"]:
        raise click.UsageError("--create-pr and --tag exclude each other: merge first, then push again with the tag.")
    try:
        _push(repo_id, dry_run, yes, verify == "sample", token, options)
    except CatsAlpacaError as error:
        # Whatever the Hub or a library put into its message: the token is never shown.
        raise type(error)(_without(str(error), token)) from None


def _push(repo_id: str, dry_run: bool, yes: bool, sample: bool, token: str | None, options: dict[str, Any]) -> None:
    from .. import hub

    _quiet_bars()
    if dry_run:
        what = {name: options[name] for name in ("folder", "private", "revision", "tag", "delete_script", "timeout")}
        _show_plan(hub.plan_push(repo_id, token=token, **what))
        return
    done = hub.push_to_hub(
        repo_id,
        token=token,
        sample=sample,
        confirm=lambda plan: _confirm(plan, yes),
        notice=lambda sentence: _say(_without(sentence, token)),
        **options,
    )
    if done is None:
        click.echo("Nothing was published.", err=True)
        sys.exit(1)
    _show_push(done)


def _quiet_bars() -> None:
    """Show the client's bars for hashing and upload only to somebody who watches."""
    if not (sys.stderr and sys.stderr.isatty()):
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()


def _without(text: str, token: str | None) -> str:
    from huggingface_hub import get_token

    for secret in filter(None, (token, get_token())):
        text = text.replace(secret, "[token]")
    return text


@contextmanager
def _read_or_not() -> Iterator[None]:
    """Go on when nobody reads the output any more, as with `| head`: that does not decide what is published.

    What follows goes to stderr.
    """
    try:
        yield
    except BrokenPipeError:
        _say("nobody reads the output any more; the push goes on, and its end is told here")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _say(sentence: str) -> None:
    """Write to stderr, as long as somebody reads it."""
    try:
        click.echo(sentence, err=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _confirm(plan: Plan, yes: bool) -> bool:
    with _read_or_not():
        _show_plan(plan)
    return yes or plan.is_empty or click.confirm(f"Publish this to {plan.repo_id}?", err=True)


def _show_plan(plan: Plan) -> None:
    head = f"at {plan.remote.head[:7]}" if plan.remote.head else "(to be made)"
    click.echo(f"{plan.repo_id} {plan.revision} {head}")
    sizes = {file.path: file.size for file in plan.send}
    for word, paths in (("add", plan.added), ("update", plan.updated), ("delete", plan.deleted)):
        for path in paths:
            size = f"  {sizes[path]:,} bytes" if path in sizes else ""
            click.echo(f"  {word:7} {path}{size}")
    if plan.kept:
        click.echo(f"  keep    {len(plan.kept)} files that the Hub holds already")
    _show_rows(plan)
    _show_stories(plan)
    if plan.card_diff:
        click.echo("card")
        for line in plan.card_diff[:_SHOWN_LINES]:
            click.echo(f"  {line}")
        if (hidden := len(plan.card_diff) - _SHOWN_LINES) > 0:
            click.echo(f"  and {hidden:,} lines more")
    for sentence in plan.unchecked:
        click.echo(f"not checked: {sentence}")


def _show_rows(plan: Plan) -> None:
    for config, splits in plan.rows.items():
        changes = ", ".join(f"{split} {_change(*counts)}" for split, counts in splits.items())
        click.echo(f"rows of {config}: {changes}")


def _change(before: int | None, after: int | None) -> str:
    counts = [f"{count:,}" if count is not None else "none" for count in (before, after)]
    return counts[0] if before == after else " → ".join(counts)


def _show_stories(plan: Plan) -> None:
    if plan.stories is None:
        return
    for word in ("added", "changed", "retired"):
        ids = getattr(plan.stories, word)
        more = f" and {len(ids) - _SHOWN_IDS:,} more" if len(ids) > _SHOWN_IDS else ""
        if ids:
            click.echo(f"stories {word}: {len(ids):,} ({', '.join(ids[:_SHOWN_IDS])}{more})")


def _show_push(done: Push) -> None:
    if done.committed:
        counts = (
            f"{len(done.added)} added, {len(done.updated)} updated, {len(done.deleted)} deleted, {len(done.kept)} kept"
        )
        _say(f"published: {counts}; loaded again from the Hub, and it is what was sent")
    else:
        _say("Nothing to do: the Hub holds this release already.")
    if done.tag:
        _say(f"tag {done.tag} is on {done.commit[:7]}")
    with _read_or_not():
        click.echo(done.pull_request or done.url)
        return
    _say(done.pull_request or done.url)
