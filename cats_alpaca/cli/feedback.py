"""`cats-alpaca feedback`: tell, ask, judge, consent, forget; and what of it becomes data."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .reading import BAD_LINES, keep_apart, reading_stories, with_options

if TYPE_CHECKING:
    from ..feedback import Publication, Store, Turn
    from ..feedback.export import Given

_SHOWN = 20

_STORE = click.option(
    "--store",
    "path",
    metavar="FILE",
    envvar="CATS_ALPACA_STORE",
    default="cats-feedback.sqlite",
    show_default=True,
    show_envvar=True,
    help="The feedback store.",
)
_WHO = click.option(
    "--as",
    "who",
    metavar="ID",
    envvar="CATS_ALPACA_CONTRIBUTOR",
    show_envvar=True,
    help="Who you are in the store. [default: its only contributor; a new one when there is none]",
)
_MODEL = (
    click.option(
        "--model-url",
        metavar="URL",
        help="Where a model answers, as OpenAI's chat completions: http://localhost:8080/v1. The question goes there."
        " A key is taken from CATS_ALPACA_MODEL_KEY.",
    ),
    click.option("--model", metavar="NAME", default="", help="The model's name there, where the server wants one."),
    click.option(
        "--timeout",
        metavar="S",
        type=click.FloatRange(min=0, min_open=True),
        default=120.0,
        show_default=True,
        help="How many seconds to wait for its answer.",
    ),
)


@click.group(epilog="Example: cats-alpaca feedback add ミケ くしゃみが二回 --outcome 三日で治った --share")
def feedback() -> None:
    """Collect what people live through with their cats, and make data of what they consent to."""


@contextmanager
def _open(path: str, who: str | None, *, create: bool = False) -> Iterator[tuple[Store, str]]:
    """Open the store as somebody: the one who was named, or the only one there is, or a new one."""
    from ..feedback import find_contributors, join, open_store

    with open_store(path, create=create) as store:
        if not who:
            known = find_contributors(store)
            if len(known) > 1:
                raise click.UsageError("several people use this store; say who you are with --as ID.")
            who = known[0] if known else join(store)
            if not known:
                click.echo(f"You are {who} in this store.", err=True)
        yield store, who


@feedback.command(epilog="Example: cats-alpaca feedback add ミケ くしゃみが二回 --done 受診 --date 2024-11-08")
@click.argument("cat")
@click.argument("seen")
@click.option("--done", metavar="TEXT", default="", help="What was done about it.")
@click.option("--outcome", metavar="TEXT", default="", help="What came of it.")
@click.option("--feeling", metavar="TEXT", default="", help="How it felt.")
@click.option("--date", metavar="DAY", help="When, as YYYY-MM-DD. [default: today]")
@click.option("--share", is_flag=True, help="Let the group read it. Without this, nobody else does.")
@with_options(_STORE, _WHO)
def add(path: str, who: str | None, cat: str, seen: str, share: bool, **fields: Any) -> None:
    """Tell what you lived through with CAT; print its id.

    Up to 1,000 characters each. Do not write names, addresses or telephone numbers.
    """
    from .. import feedback as library

    with _open(path, who, create=True) as (store, me):
        click.echo(library.add(store, me, cat, seen, shared=share, **fields))


@feedback.command(
    "import",
    epilog="""Example: echo '{"cat": "ミケ", "date": "2024-11-08", "seen": "くしゃみ"}' > diary.jsonl"""
    " && cats-alpaca feedback import diary.jsonl",
)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.option("--encoding", metavar="E", help="Of files without a byte-order mark. [default: utf-8]")
@click.option(
    "--max-line-bytes",
    metavar="N",
    type=click.IntRange(min=1),
    default=16 << 20,
    show_default=True,
    help="A longer line is a bad line.",
)
@with_options(*BAD_LINES, _STORE, _WHO)
def import_(path: str, who: str | None, sources: tuple[str, ...], **options: Any) -> None:
    """Take in a diary, as JSON lines of your own experiences and turns.

    An experience has cat, date, seen, and may have done, outcome, feeling, and shared (group or nobody). A turn has
    cat, date, question, and may have answer, model, verdict (up or down) and correction. What is there already is not
    added again; what was forgotten is refused.
    """
    from ..feedback.importing import import_lines

    keep_apart(sources, path, options["rejects"], options["report"])
    usual = {"from_": "stories", "question_key": None, "answer_key": None, "context_key": None}
    with _open(path, who, create=True) as (store, me), reading_stories(sources, **usual, **options) as reading:
        del reading["keys"]
        found = import_lines(store, me, sources, **reading)
    click.echo(f"{found.added:,} added, {found.known:,} there already")


@feedback.command(epilog="Example: cats-alpaca feedback ask ミケ 朝からくしゃみをしています --feeling 心配です")
@click.argument("cat", required=False)
@click.argument("question", required=False)
@click.option("--feeling", metavar="TEXT", default="", help="How you feel; it is told with the question.")
@click.option("--date", metavar="DAY", help="When, as YYYY-MM-DD. [default: today]")
@click.option("--again", metavar="ID", help="Have a question answered that was written down and got no answer.")
@with_options(*_MODEL, _STORE, _WHO)
def ask(
    path: str,
    who: str | None,
    cat: str | None,
    question: str | None,
    feeling: str,
    date: str | None,
    again: str | None,
    model_url: str | None,
    model: str,
    timeout: float,
) -> None:
    """Ask about CAT: print the turn's id, what is recalled, and, with --model-url, a model's answer.

    The question is written down before any model is asked, so nothing that you type is lost.
    """
    from .. import feedback as library

    if (again is None) == (question is None) or (again and cat):
        raise click.UsageError("give CAT and QUESTION, or --again ID.")
    if again and not model_url:
        raise click.UsageError("--again needs --model-url.")
    with _open(path, who, create=True) as (store, me):
        if again is None:
            turn = library.ask(store, me, str(cat), str(question), feeling=feeling, date=date)
        else:
            turn = library.find_turn(store, me, again)
        click.echo(turn.id)
        if turn.context:
            click.echo(f"\n{turn.context}")
        if model_url:
            key = os.environ.get("CATS_ALPACA_MODEL_KEY", "")
            _show_answer(library.draft(store, me, turn.id, model_url, model=model, key=key, total_seconds=timeout))


def _show_answer(turn: Turn) -> None:
    click.echo(f"\n{turn.answer}")
    click.echo(f"\nWas it good? cats-alpaca feedback rate {turn.id} up (or: down --correction TEXT)", err=True)


@feedback.command(
    epilog='Example: cats-alpaca feedback rate "$(cats-alpaca feedback ask ミケ 鳴きます | head -n 1)" down'
    " --correction 寝る前に遊びましょう。"
)
@click.argument("turn")
@click.argument("verdict", type=click.Choice(["up", "down"]))
@click.option("--correction", metavar="TEXT", default="", help="What would have been a good answer.")
@with_options(_STORE, _WHO)
def rate(path: str, who: str | None, turn: str, verdict: str, correction: str) -> None:
    """Judge the answer of TURN, and correct it; the newest word counts."""
    from .. import feedback as library

    with _open(path, who) as (store, me):
        library.rate(store, me, turn, verdict, correction=correction)


_WHAT = click.Choice(["train", "publish"])


@feedback.command(epilog="Example: cats-alpaca feedback consent --give train --give publish --language en")
@click.option("--give", type=_WHAT, multiple=True, help="Allow this; may be repeated.")
@click.option("--withdraw", type=_WHAT, multiple=True, help="Allow this no longer; may be repeated.")
@click.option("--share", metavar="ID", multiple=True, help="Let the group read this experience of yours.")
@click.option("--unshare", metavar="ID", multiple=True, help="Let nobody read this experience from now on.")
@click.option("--language", type=click.Choice(["ja", "en"]), default="ja", show_default=True, help="Of the text.")
@with_options(_STORE, _WHO)
def consent(
    path: str,
    who: str | None,
    give: tuple[str, ...],
    withdraw: tuple[str, ...],
    share: tuple[str, ...],
    unshare: tuple[str, ...],
    language: str,
) -> None:
    """Show what you may allow, and what you allow today; change it.

    There are two permissions, and without both nothing that you wrote leaves the store.
    """
    from .. import feedback as library

    if both := sorted({*give} & {*withdraw} | {*share} & {*unshare}):
        raise click.UsageError(f"{both[0]} cannot be both given and taken back.")
    with _open(path, who, create=True) as (store, me):
        for given, kinds in ((True, give), (False, withdraw)):
            for what in kinds:
                library.set_consent(store, me, what, given)
        for shared, ids in ((True, share), (False, unshare)):
            for id_ in ids:
                library.share(store, me, id_, shared)
        found = library.consents(store, me)
        publications = library.find_publications(store, [turn.id for turn in library.turns(store, me)])
    click.echo(library.consent_text(language))
    for what, last in found.items():
        since = f" (text {last.version}, {last.date})" if last.date else ""
        click.echo(f"{what}: {'given' if last.given else 'not given'}{since}")
    if withdraw:
        _show_publications(publications)


@feedback.command(epilog="Example: cats-alpaca feedback ask ミケ 鳴きます && cats-alpaca feedback export feedback-data")
@click.argument("folder", metavar="DIR")
@_STORE
def export(path: str, folder: str) -> None:
    """Write what may leave the store to DIR: stories, preference and kto as JSON lines, and the ids withdrawn."""
    from ..feedback import open_store
    from ..feedback.export import export as export_folder

    with open_store(path, create=False) as store:
        given = export_folder(store, folder)
    click.echo(folder)
    show_given(given)


def show_given(given: Given) -> None:
    """Say on stderr how many turns left the store, and which stay for a reason that somebody can mend."""
    reasons = Counter(one.code for one in given.held)
    counts = f" ({', '.join(f'{code} {count:,}' for code, count in reasons.most_common())})" if reasons else ""
    kept, left = len(given.held), len(given.ids)
    click.echo(f"{kept + left:,} turns in the store = {left:,} given + {kept:,} held back{counts}", err=True)
    named = [one for one in given.held if one.code not in ("no-consent", "not-judged")]
    for one in named[:_SHOWN]:
        click.echo(f"{one.turn}: {one.reason} [{one.code}]", err=True)
    if (hidden := len(named) - _SHOWN) > 0:
        click.echo(f"and {hidden:,} more", err=True)


@feedback.command(epilog='Example: cats-alpaca feedback forget "$(cats-alpaca feedback add ミケ くしゃみが二回)"')
@click.argument("what", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask, though a cat or a person goes with everything.")
@with_options(_STORE, _WHO)
def forget(path: str, who: str | None, what: str, yes: bool) -> None:
    """Forget ID for good: an experience, a turn, a cat with all of hers, or yourself with everything.

    The text is deleted; only the id stays behind, so that it cannot come back. The next build holds none of it, nor
    what others were told from it. Before a cat or a person goes with everything, it asks.
    """
    from .. import feedback as library

    with _open(path, who) as (store, me):
        if not (yes or _may_forget(store, me, what)):
            click.echo("Nothing was forgotten.", err=True)
            sys.exit(1)
        gone = library.forget(store, me, what)
    for id_ in gone.ids:
        click.echo(id_)
    if gone.quoting:
        click.echo(f"{len(gone.quoting):,} turns quoted it; they are held back from now on: {', '.join(gone.quoting)}")
    if not gone.scrubbed:
        click.echo("Others use the store just now; the bytes are overwritten when it is opened next.", err=True)
    _show_publications(gone.publications)


def _may_forget(store: Store, me: str, what: str) -> bool:
    """Ask before a cat or a person goes with everything."""
    from .. import feedback as library

    cat = dict(library.cats(store, me)).get(what)
    if not (cat or what == me):
        return True
    if not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError(f"{what} goes with everything, and nobody can be asked here: say --yes.")
    told, asked = (
        sum(what == me or one.cat == cat for one in entries)
        for entries in (library.experiences(store, me), library.turns(store, me))
    )
    return click.confirm(f"Forget {cat or what} with {told:,} experiences and {asked:,} turns?", err=True)


def _show_publications(found: Sequence[Publication]) -> None:
    """Say which published revisions still hold what was taken back, and what is to be done."""
    if not found:
        click.echo("No published revision is known to hold it.")
        return
    click.echo("These published revisions still hold it:")
    for one in found:
        click.echo(f"  {one.repository} at {one.revision}: {one.rows:,} turns")
    click.echo(
        "Now the maintainer must: build again with --feedback, and publish that as a new revision; then rewrite the"
        "\nhistory of the repository (huggingface_hub: super_squash_history) and delete its tags, or the old revisions"
        "\nkeep it. Copies that others made, and models that they trained, cannot be called back."
    )


@feedback.command(epilog="Example: cats-alpaca feedback add ミケ くしゃみが二回 && cats-alpaca feedback status --all")
@click.option("--all", "everything", is_flag=True, help="List every entry of yours with its id.")
@with_options(_STORE, _WHO)
def status(path: str, who: str | None, everything: bool) -> None:
    """Show what the store holds of you, what you allow, and what of all may leave it."""
    from .. import feedback as library
    from ..feedback.export import collect

    with _open(path, who) as (store, me):
        click.echo(me)
        told, asked = library.experiences(store, me), library.turns(store, me)
        shared = sum(one.shared for one in told)
        click.echo(f"{len(told):,} experiences ({shared:,} shared with the group), {len(asked):,} turns")
        for id_, name in library.cats(store, me):
            click.echo(f"{id_}  {name}")
        if everything:
            for one in told:
                click.echo(
                    f"{one.id}  {one.date}  {one.cat}  {'group' if one.shared else 'nobody'}  {_short(one.seen)}"
                )
            for turn in asked:
                click.echo(f"{turn.id}  {turn.date}  {turn.cat}  {turn.verdict or '-'}  {_short(turn.question)}")
        for what, last in library.consents(store, me).items():
            click.echo(f"{what}: {'given' if last.given else 'not given'}")
        show_given(collect(store))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"


@feedback.command(
    epilog="Example: cats-alpaca feedback ask ミケ 鳴きます && cats-alpaca build --feedback cats-feedback.sqlite"
    " --out release && cats-alpaca feedback published user/cats v1 --release release"
)
@click.argument("repository")
@click.argument("revision")
@click.option("--release", metavar="DIR", default="release", show_default=True, help="The folder that was published.")
@_STORE
def published(path: str, repository: str, revision: str, release: str) -> None:
    """Remember that a release folder was published as REVISION of REPOSITORY, so that `forget` can tell."""
    from ..errors import FeedbackError
    from ..feedback import open_store, record_publication
    from ..release import digest, find_turns

    there = find_turns(release)
    with open_store(path, create=False) as store:
        count = record_publication(store, repository, revision, digest(release))
    if there and not count:
        raise FeedbackError(
            f"{release} holds {len(there):,} turns, and {path} knows no such build: name the store that it was built "
            "from with --store, or build it again with --feedback"
        )
    click.echo(f"{repository} at {revision}: {count:,} turns")
    if not count:
        click.echo(f"{release} holds nobody's turns, so there is nothing to remember.", err=True)


def _page(name: str) -> Any:
    """Import a module of the page; say what is missing when the extra is not there."""
    from importlib import import_module

    from ..errors import FeedbackError

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return import_module(f"cats_alpaca.feedback.page.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cats_alpaca"):
            raise
        raise FeedbackError(f"the page needs {error.name}; pip install 'cats_alpaca[app]'") from None


@feedback.command(epilog="Example: cats-alpaca feedback serve --port 7860")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Any other needs --login.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: any that is free."
)
@click.option("--login", metavar="FILE", help="Who may sign in; `cats-alpaca feedback login` writes it.")
@click.option("--maintainer", metavar="NAME", multiple=True, help="Who of them counts and exports; may be repeated.")
@click.option("--export", "folder", metavar="DIR", default="feedback-data", show_default=True, help="Where to.")
@with_options(*_MODEL, _STORE, _WHO)
def serve(
    path: str,
    who: str | None,
    host: str,
    port: int,
    login: str | None,
    maintainer: tuple[str, ...],
    folder: str,
    model_url: str | None,
    model: str,
    timeout: float,
) -> None:
    """Serve a page on which cat owners tell, ask, judge, consent and take back.

    Without --login it is there for one person, on this machine only; with it, everybody signs in and acts for
    themselves. It speaks plain HTTP: put a server with TLS before it where the network is not yours.
    """
    server = _page("server")
    from ..feedback.page.deeds import Host

    _check_serving(server.is_loopback(host), login, maintainer, who)
    opened: Any = _nobody(path, login, maintainer) if login else _open(path, who, create=True)
    with opened as (_, me):
        settings = Host(
            os.path.abspath(path), me, login or "", frozenset(maintainer), model_url or "", model,
            os.environ.get("CATS_ALPACA_MODEL_KEY", ""), timeout, os.path.abspath(folder),
        )  # fmt: skip
    with server.listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"http://{shown}:{listening.getsockname()[1]}/")
        server.serve(settings, listening)


def _check_serving(loopback: bool, login: str | None, maintainer: tuple[str, ...], who: str | None) -> None:
    if not loopback and not login:
        raise click.UsageError("--host may only leave this machine with --login: others would read your notes.")
    if maintainer and not login:
        raise click.UsageError("--maintainer needs --login; without it, whoever is at the machine is the maintainer.")
    if login and who:
        raise click.UsageError("--as and --login exclude each other: who signs in says who they are.")


@contextmanager
def _nobody(path: str, login: str, maintainer: tuple[str, ...]) -> Iterator[tuple[Store, str]]:
    """Open the store as nobody in particular, when everybody signs in."""
    from ..feedback import open_store

    if unknown := sorted(set(maintainer) - set(_page("people").read_people(login))):
        raise click.UsageError(f"{login} knows no {unknown[0]}; cats-alpaca feedback login {login} {unknown[0]}")
    with open_store(path) as store:
        yield store, ""


@feedback.command(epilog="Example: echo mike-to-tama | cats-alpaca feedback login people.txt hanako")
@click.argument("file", metavar="FILE")
@click.argument("name")
@with_options(_STORE, _WHO)
def login(path: str, who: str | None, file: str, name: str) -> None:
    """Let NAME sign in to the page with a password that is asked for, or read from the standard input.

    FILE keeps the name, a hash of the password, and the contributor whose notes they are: a new one, or whom --as
    names. For a name that is in FILE already, only the password changes.
    """
    from ..feedback import find_contributors, join, open_store
    from ..feedback.page.people import read_people, write_person

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    known = read_people(file).get(name) if os.path.exists(file) else None
    with open_store(path) as store:
        there = find_contributors(store)
        who = who or (known.contributor if known and known.contributor in there else None)
        if who and who not in there:
            raise click.UsageError(f"there is no contributor {who} in {path}.")
        who = who or join(store)
        write_person(file, name, who, password)
    click.echo(who)
