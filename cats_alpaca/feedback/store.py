"""The store: one SQLite file of what people lived through, asked, and said of the answers.

Every function takes the open store and the contributor who acts: nobody reads or changes what is somebody else's, and
an id of somebody else's is answered like one that does not exist. An id tells what it names: `person-`, `exp-`
(an experience), `cat-`, and `fb-` for a turn, which is the id of the story that may become of it.
"""

from __future__ import annotations

import base64
import datetime
import os
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import FeedbackError
from .schema import APPLICATION, MIGRATIONS
from .words import index_words, unindex_words

Store = sqlite3.Connection

BUSY_SECONDS = 60
"""How long a writer waits for the others."""

NAME, NOTE, QUESTION, ANSWER = 40, 1_000, 2_000, 4_000
"""The longest cat's name, field of an experience, question, and answer or correction, in characters."""

SCRUB = b"\x01"
"""Marks in the store that something was forgotten, of which older copies are still in its files."""

_FIRST_DATE = datetime.date(1950, 1, 1)


class Experience(NamedTuple):
    """What somebody lived through with a cat."""

    id: str
    cat: str
    date: str
    seen: str
    done: str
    outcome: str
    feeling: str
    shared: bool


class Turn(NamedTuple):
    """A question, what was recalled for it, the answer, and what the person said of it."""

    id: str
    cat: str
    date: str
    question: str
    context: str
    answer: str
    model: str
    verdict: str
    correction: str


@contextmanager
def open_store(path: str | Path, *, create: bool = True) -> Iterator[Store]:
    """Open a store, made when it is not there, and close it at the end of the `with` statement.

    >>> import tempfile
    >>> with open_store(Path(tempfile.mkdtemp(), "cats.sqlite")) as store:
    ...     me = join(store)
    ...     added = add(store, me, "ミケ", "くしゃみが二回", date="2024-11-08")
    ...     [(one.seen, one.shared) for one in experiences(store, me)]
    [('くしゃみが二回', False)]

    Raises:
        FeedbackError: when there is no such file, or it is no store, is damaged, cannot be written or was made by a
            newer version.
    """
    path = Path(path)
    _make_sure(path, create)
    store: Store | None = None
    try:
        store = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        _prepare(store, path)
        yield store
    except sqlite3.Error as error:
        raise FeedbackError(f"{path}: {_explained(error)}") from error
    finally:
        if store is not None:
            store.close()


def _make_sure(path: Path, create: bool) -> None:
    if sqlite3.sqlite_version_info < (3, 37):
        raise FeedbackError(f"SQLite is {sqlite3.sqlite_version}; the store needs 3.37, so use a newer Python")
    if path.is_dir():
        raise FeedbackError(f"{path}: is a folder; name a file")
    if path.exists():
        return
    if not create:
        raise FeedbackError(f"{path}: there is no such store; check the name")
    with suppress(FileExistsError):
        # Nobody else's to read: people write of their lives here. SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _explained(error: sqlite3.Error) -> str:
    text = str(error)
    if "not a database" in text:
        return "is no feedback store; name another file"
    if "malformed" in text or "corrupt" in text:
        return f"the store is damaged ({text}); take the newest whole copy, or save the rest: sqlite3 FILE .recover"
    if "readonly" in text or "unable to open" in text:
        return f"cannot be written ({text}); the store needs a folder in which it may write"
    if "locked" in text:
        return f"others have written for {BUSY_SECONDS} seconds; try again"
    return f"the store cannot be used: {text}"


def _prepare(store: Store, path: Path) -> None:
    store.execute("PRAGMA foreign_keys = ON")
    store.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    store.execute("PRAGMA temp_store = MEMORY")
    _check_kind(store, path)
    _use_log(store)
    store.execute("PRAGMA synchronous = FULL")  # a commit that was acknowledged outlives a power cut
    if _version(store) < len(MIGRATIONS):
        _migrate(store)
    scrub(store, seconds=0.2)  # what could not be done when something was forgotten


def _version(store: Store) -> int:
    version: int = store.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_kind(store: Store, path: Path) -> None:
    [application] = store.execute("PRAGMA application_id").fetchone()
    used = store.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION and (used or application):
        raise FeedbackError(f"{path}: is another program's database, no feedback store; name another file")
    if (version := _version(store)) > len(MIGRATIONS):
        raise FeedbackError(
            f"{path}: was made by a newer version (its form is {version}, this one knows {len(MIGRATIONS)});"
            " update cats_alpaca"
        )


def _use_log(store: Store) -> None:
    """Write to a log beside the file; while another process switches, SQLite says "locked" without waiting."""
    end = time.monotonic() + BUSY_SECONDS
    while store.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            store.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _migrate(store: Store) -> None:
    with writing(store):
        # Read again: another process may have done it while we waited.
        for number in range(_version(store), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                store.execute(statement)
        store.execute("INSERT OR IGNORE INTO facts VALUES ('key', ?)", (secrets.token_bytes(32),))
        store.execute(f"PRAGMA application_id = {APPLICATION}")
        store.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Do several things at once, or none of them."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if store.in_transaction:  # SQLite has rolled back itself when the disk is full
            store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")


def scrub(store: Store, seconds: float = 5.0) -> bool:
    """Take the bytes of what was forgotten out of the files, if there are any; say whether none are left.

    Overwriting what is deleted is not enough: index segments, pages that were split and the log keep older copies.

    Args:
        store: the open store.
        seconds: how long to wait for others.
    """
    try:
        store.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        if (due := store.execute("SELECT value FROM facts WHERE name = 'scrub'").fetchone()) is None:
            return True
        if due[0] == SCRUB:
            store.execute("INSERT INTO shared_words (shared_words) VALUES ('optimize')")
            store.execute("VACUUM")
            store.execute("UPDATE facts SET value = x'02' WHERE name = 'scrub' AND value = ?", due)
        # Old copies are now only in pages and a log that nobody needs, once those who read them have finished.
        if store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            return False
        store.execute("DELETE FROM facts WHERE name = 'scrub' AND value = x'02'")
    except sqlite3.OperationalError:  # others read or write; the next one who opens the store tries again
        return False
    finally:
        store.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    return True


# ---- what is checked of everything that somebody typed


def new_id(kind: str) -> str:
    """Make an id of a kind, that nobody can guess.

    >>> new_id("exp").startswith("exp-"), len(new_id("exp"))
    (True, 20)
    """
    return f"{kind}-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"


def checked(name: str, text: str, limit: int, *, required: bool = False) -> str:
    r"""Give a text without outer white space, or say what is wrong with it.

    >>> checked("seen", " くしゃみ\r\n二回 ", 100)
    'くしゃみ\n二回'

    Raises:
        FeedbackError: when it is too long, holds characters that are no text, or is blank though it is required.
    """
    if len(text) > 4 * limit:  # before anything is done with it
        raise FeedbackError(_too_long(name, len(text), limit))
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    for at, letter in enumerate(text, 1):
        if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cs"):
            raise FeedbackError(f"{name}: character {at:,} (U+{ord(letter):04X}) is no text; delete it")
    if len(text) > limit:
        raise FeedbackError(_too_long(name, len(text), limit))
    if required and not text:
        raise FeedbackError(f"{name}: is blank; write something")
    return text


def _too_long(name: str, length: int, limit: int) -> str:
    return f"{name}: has {length:,} characters, {limit:,} are allowed; tell it in fewer words"


def checked_date(date: str | None) -> str:
    """Give a date as YYYY-MM-DD; None is today.

    Raises:
        FeedbackError: when there is no such day, or it is still to come.
    """
    if date is None:
        return datetime.date.today().isoformat()
    try:
        day = datetime.date(*map(int, date.split("-"))) if len(date) == 10 and date.isascii() else None
    except (ValueError, TypeError):
        day = None
    if day is None or day.isoformat() != date:
        raise FeedbackError(f"date: {date[:40]!r} is no day; write it as YYYY-MM-DD")
    if not _FIRST_DATE <= day <= datetime.date.today() + datetime.timedelta(1):  # it is tomorrow somewhere already
        raise FeedbackError(f"date: {date} is not between {_FIRST_DATE} and today")
    return date


# ---- who acts


def join(store: Store) -> str:
    """Make a new contributor: an id without a name, which the person keeps."""
    who = new_id("person")
    with writing(store):
        store.execute("INSERT INTO contributors VALUES (?, ?)", (who, datetime.date.today().isoformat()))
    return who


def find_contributors(store: Store) -> list[str]:
    """List the ids of all contributors: for whoever runs the store, not for its contributors."""
    return [who for (who,) in store.execute("SELECT id FROM contributors ORDER BY joined, id")]


def check_contributor(store: Store, who: str) -> None:
    """Make sure that there is such a contributor.

    Raises:
        FeedbackError: when there is none.
    """
    if not store.execute("SELECT 1 FROM contributors WHERE id = ?", (who,)).fetchone():
        raise FeedbackError(f"there is no contributor {who[:60]!r}; check the id")


def find_cat(store: Store, who: str, name: str) -> str | None:
    """Find one's own cat by its name."""
    found = store.execute("SELECT id FROM cats WHERE contributor = ? AND name = ?", (who, name)).fetchone()
    return str(found[0]) if found else None


def _cat(store: Store, who: str, name: str) -> str:
    check_contributor(store, who)
    found = find_cat(store, who, name)
    if found is None:
        found = new_id("cat")
        store.execute("INSERT INTO cats VALUES (?, ?, ?)", (found, who, name))
    return found


# ---- what is written


def add(
    store: Store,
    who: str,
    cat: str,
    seen: str,
    *,
    done: str = "",
    outcome: str = "",
    feeling: str = "",
    date: str | None = None,
    shared: bool = False,
) -> str:
    """Add an experience, and give its id; when this returns, it is safe on the disk.

    Args:
        store: the open store.
        who: the contributor.
        cat: the name of their cat, up to 40 characters; a new one is taken in.
        seen: what was seen, up to 1,000 characters.
        done: what was done about it.
        outcome: what came of it.
        feeling: how it felt.
        date: the day, as YYYY-MM-DD; None is today.
        shared: whether the group may read it; nobody else may otherwise.

    Raises:
        FeedbackError: when a text or the date cannot be taken, or there is no such contributor.
    """
    fields = clean_experience(cat=cat, date=date, seen=seen, done=done, outcome=outcome, feeling=feeling)
    id_ = new_id("exp")
    with writing(store):
        insert_experience(store, who, id_, fields, shared)
    return id_


def clean_experience(
    *, cat: str, date: str | None, seen: str, done: str = "", outcome: str = "", feeling: str = ""
) -> dict[str, str]:
    """Check the fields of an experience, and give them as they are stored."""
    return {
        "cat": checked("cat", cat, NAME, required=True),
        "date": checked_date(date),
        "seen": checked("seen", seen, NOTE, required=True),
        "done": checked("done", done, NOTE),
        "outcome": checked("outcome", outcome, NOTE),
        "feeling": checked("feeling", feeling, NOTE),
    }


def insert_experience(store: Store, who: str, id_: str, fields: dict[str, str], shared: bool) -> None:
    """Write an experience whose fields were checked."""
    cat = _cat(store, who, fields["cat"])
    number = store.execute(
        "INSERT INTO experiences (id, cat, date, seen, done, outcome, feeling, shared)"
        " VALUES (:id, :cat, :date, :seen, :done, :outcome, :feeling, :shared)",
        {**fields, "id": id_, "cat": cat, "shared": int(shared)},
    ).lastrowid
    if shared and number:
        index_words(store, number, "\n".join(fields[name] for name in ("seen", "done", "outcome", "feeling")))


def insert_turn(store: Store, who: str, id_: str, fields: dict[str, str], quoted: Iterable[str] = ()) -> None:
    """Write a turn whose fields were checked, and which experiences it quotes."""
    blank = dict.fromkeys(("answer", "model", "verdict", "correction"), "")
    store.execute(
        "INSERT INTO turns (id, cat, date, question, context, experience, answer, model, verdict, correction) VALUES"
        " (:id, :cat, :date, :question, :context, :experience, :answer, :model, :verdict, :correction)",
        {**blank, **fields, "id": id_, "cat": _cat(store, who, fields["cat"])},
    )
    store.executemany("INSERT INTO quotes VALUES (?, ?)", [(id_, one) for one in quoted])


def share(store: Store, who: str, experience: str, shared: bool) -> None:
    """Let the group read an experience of one's own, or nobody from now on.

    Raises:
        FeedbackError: when the contributor has no such experience.
    """
    with writing(store):
        found = store.execute(
            "SELECT number, seen, done, outcome, feeling, shared FROM experiences"
            " WHERE id = ? AND cat IN (SELECT id FROM cats WHERE contributor = ?)",
            (experience, who),
        ).fetchone()
        if not found:
            raise FeedbackError(not_yours(experience))
        number, *texts, before = found
        if before != shared:
            store.execute("UPDATE experiences SET shared = ? WHERE number = ?", (int(shared), number))
            (index_words if shared else unindex_words)(store, number, "\n".join(texts))


def rate(store: Store, who: str, turn: str, verdict: str, *, correction: str = "") -> None:
    """Say whether an answer was good (`up`) or not (`down`), and what would have been better.

    Raises:
        FeedbackError: when the contributor has no such turn, or there is no answer to judge.
    """
    if verdict not in ("up", "down"):
        raise FeedbackError(f"a verdict is up or down, not {verdict[:40]!r}")
    correction = checked("correction", correction, ANSWER)
    with writing(store):
        found = find_turn(store, who, turn)
        check_verdict(turn, found.answer, correction)
        store.execute("UPDATE turns SET verdict = ?, correction = ? WHERE id = ?", (verdict, correction, turn))


def check_verdict(turn: str, answer: str, correction: str) -> None:
    """Make sure that there is something to judge, and that a correction corrects."""
    if not answer and not correction:
        raise FeedbackError(f"{turn} has no answer yet; ask a model for one, or give the answer as the correction")
    if answer == correction:
        raise FeedbackError(f"{turn}: the correction is the answer itself; say up without a correction")


def not_yours(id_: str) -> str:
    """Say that an id is not there, or not theirs: nobody learns which."""
    return f"you have nothing with the id {id_[:60]!r}; `cats-alpaca feedback status` lists what you have"


def count(store: Store) -> dict[str, int]:
    """Count what is in the store: for whoever runs it."""
    tables = ("contributors", "cats", "experiences", "turns")
    return {table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608


# ---- what one reads of one's own


def cats(store: Store, who: str) -> list[tuple[str, str]]:
    """Give the ids and names of a contributor's cats."""
    check_contributor(store, who)
    return store.execute("SELECT id, name FROM cats WHERE contributor = ? ORDER BY name", (who,)).fetchall()


def experiences(store: Store, who: str) -> list[Experience]:
    """Give all experiences of a contributor, the oldest day first."""
    check_contributor(store, who)
    found = store.execute(
        "SELECT e.id, c.name, date, seen, done, outcome, feeling, shared FROM experiences e JOIN cats c ON c.id = e.cat"
        " WHERE c.contributor = ? ORDER BY date, number",
        (who,),
    )
    return [Experience._make((*row[:-1], bool(row[-1]))) for row in found]


_TURN = (
    "SELECT t.id, c.name, date, question, context, answer, model, verdict, correction FROM turns t"
    " JOIN cats c ON c.id = t.cat WHERE c.contributor = ?"
)


def turns(store: Store, who: str) -> list[Turn]:
    """Give all turns of a contributor, in the order in which they were asked."""
    check_contributor(store, who)
    return [Turn(*row) for row in store.execute(f"{_TURN} ORDER BY number", (who,))]


def find_turn(store: Store, who: str, turn: str) -> Turn:
    """Give a turn of one's own.

    Raises:
        FeedbackError: when the contributor has no such turn.
    """
    found = store.execute(f"{_TURN} AND t.id = ?", (who, turn)).fetchone()
    if not found:
        raise FeedbackError(not_yours(turn))
    return Turn(*found)
