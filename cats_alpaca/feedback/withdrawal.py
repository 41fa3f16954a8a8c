"""What is taken back: the text goes, an id stays behind, so that it cannot return.

A tombstone is an id, its kind and a day. Fingerprints tell a forgotten text when it comes back under another id: an
HMAC under a key that only this store knows, of the text without white space, so that it cannot be read back.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..errors import FeedbackError
from .store import SCRUB, Store, check_contributor, not_yours, scrub, writing
from .words import unindex_words


class Publication(NamedTuple):
    """A published revision that holds rows: whose it is, which, and how many."""

    repository: str
    revision: str
    rows: int


class Forgotten(NamedTuple):
    """What was forgotten.

    Attributes:
        ids: of everything whose text is gone.
        quoting: turns of anybody that quoted it: they are held back for ever, and what they quoted is gone from them.
        publications: the published revisions that still hold some of it.
        scrubbed: whether the bytes are out of the store's files, too; if not, the next one who opens the store tries.
    """

    ids: list[str]
    quoting: list[str]
    publications: list[Publication]
    scrubbed: bool


def forget(store: Store, who: str, what: str) -> Forgotten:
    """Forget an experience, a turn, a cat with all of hers, or a contributor with everything.

    Args:
        store: the open store.
        who: the contributor who takes it back.
        what: the id of something of theirs, or their own.

    Raises:
        FeedbackError: when it is not there or not theirs.
    """
    with writing(store):
        check_contributor(store, who)
        cats, experiences, turns = _find(store, who, what)
        quoting = _find_quoting(store, experiences, turns)
        publications = find_publications(store, [*turns, *quoting])
        _leave_fingerprints(store, experiences, [*turns, *quoting])
        _unindex(store, experiences)
        for table, ids in (("turns", turns), ("experiences", experiences), ("cats", cats), ("contributors", [what])):
            store.execute(f"DELETE FROM {table} WHERE id IN (SELECT value FROM json_each(?))", _listed(ids))  # noqa: S608
        # The answer was made from what was quoted, so it may tell it again.
        store.executemany("UPDATE turns SET context = '', answer = '' WHERE id = ?", [(turn,) for turn in quoting])
        ids = [*([who] if what == who else []), *cats, *experiences, *turns]
        today = datetime.date.today().isoformat()
        stones = [*((id_, id_.partition("-")[0], today) for id_ in ids), *((id_, "quoted", today) for id_ in quoting)]
        store.executemany("INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?)", stones)
        store.execute("INSERT OR REPLACE INTO facts VALUES ('scrub', ?)", (SCRUB,))
    return Forgotten(ids, quoting, publications, scrub(store))


def _find(store: Store, who: str, what: str) -> tuple[list[str], list[str], list[str]]:
    """Find which cats, experiences and turns go with an id."""
    cats, experiences, turns = (
        [id_ for (id_,) in store.execute(query, (who, what))]
        for query in (
            "SELECT id FROM cats WHERE contributor = ? AND ? IN (contributor, id)",
            "SELECT e.id FROM experiences e JOIN cats c ON c.id = e.cat"
            " WHERE c.contributor = ? AND ? IN (c.contributor, c.id, e.id)",
            "SELECT t.id FROM turns t JOIN cats c ON c.id = t.cat"
            " WHERE c.contributor = ? AND ? IN (c.contributor, c.id, t.id)",
        )
    )
    if what != who and not (cats or experiences or turns):
        raise FeedbackError(not_yours(what))
    return cats, experiences, turns


def _listed(ids: Iterable[str]) -> tuple[str]:
    """Make one value of many, which `json_each` takes apart: SQLite limits how many values a query takes."""
    return (json.dumps(list(ids)),)


def _find_quoting(store: Store, experiences: list[str], turns: list[str]) -> list[str]:
    found = store.execute(
        "SELECT DISTINCT turn FROM quotes WHERE experience IN (SELECT value FROM json_each(?))", _listed(experiences)
    )
    gone = set(turns)
    return [turn for (turn,) in found if turn not in gone]


def find_publications(store: Store, turns: Iterable[str]) -> list[Publication]:
    """Find the published revisions that hold some of these turns, and how many."""
    found = store.execute(
        "SELECT repository, revision, count(*) FROM publications"
        " WHERE turn IN (SELECT value FROM json_each(?)) GROUP BY 1, 2 ORDER BY 1, 2",
        _listed(turns),
    )
    return [Publication(*row) for row in found]


def _leave_fingerprints(store: Store, experiences: list[str], turns: list[str]) -> None:
    gone: list[tuple[str, ...]] = store.execute(
        "SELECT date, seen, done, outcome FROM experiences WHERE id IN (SELECT value FROM json_each(?))",
        _listed(experiences),
    ).fetchall()
    for question, answer, correction in store.execute(
        "SELECT question, answer, correction FROM turns WHERE id IN (SELECT value FROM json_each(?))", _listed(turns)
    ):
        gone += tell_turn(question, answer, correction)
    key = _key(store)
    store.executemany("INSERT OR IGNORE INTO fingerprints VALUES (?)", [(_fingerprint(key, texts),) for texts in gone])


def tell_turn(question: str, answer: str, correction: str) -> list[tuple[str, str]]:
    """Give the texts by which a turn is known again: a question alone only where nothing was said to it."""
    return [(question, reply) for reply in (answer, correction) if reply] or [(question, "")]


def _unindex(store: Store, experiences: list[str]) -> None:
    for number, *texts in store.execute(
        "SELECT number, seen, done, outcome, feeling FROM experiences"
        " WHERE shared = 1 AND id IN (SELECT value FROM json_each(?))",
        _listed(experiences),
    ).fetchall():
        unindex_words(store, number, "\n".join(texts))


def _key(store: Store) -> bytes:
    key: bytes = store.execute("SELECT value FROM facts WHERE name = 'key'").fetchone()[0]
    return key


def _fingerprint(key: bytes, texts: Sequence[str]) -> bytes:
    normal = ("".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)
    return hmac.digest(key, "\0".join(normal).encode(), hashlib.sha256)


# ---- what was forgotten stays out


def is_withdrawn(store: Store, id_: str, *texts: str) -> bool:
    """Say whether something with this id, or a text of these words, was forgotten here."""
    return bool(
        store.execute(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM tombstones WHERE id = ?)"
            " OR EXISTS (SELECT 1 FROM fingerprints WHERE mark = ?)",
            (id_, _fingerprint(_key(store), texts)),
        ).fetchone()
    )


def load_withdrawn(store: Store) -> Callable[..., bool]:
    """Give what tells of a story's id, question and answer whether they were forgotten here; it needs no store."""
    ids = {id_ for (id_,) in store.execute("SELECT id FROM tombstones")}
    marks = {mark for (mark,) in store.execute("SELECT mark FROM fingerprints")}
    key = _key(store)
    return lambda id_, *texts: id_ in ids or (bool(marks) and _fingerprint(key, texts) in marks)


def find_withdrawn(store: Store) -> list[str]:
    """List the ids of the turns that must be in no revision any more: forgotten, or quoting what was."""
    return [
        id_ for (id_,) in store.execute("SELECT id FROM tombstones WHERE kind IN ('fb', 'quoted') ORDER BY date, id")
    ]


# ---- which revision holds what


def record_build(store: Store, digest: str, turns: Iterable[str]) -> None:
    """Remember which turns a release folder holds, by the digest of its rows."""
    with writing(store):
        store.executemany("INSERT OR IGNORE INTO builds VALUES (?, ?)", [(digest, turn) for turn in turns])


def record_publication(store: Store, repository: str, revision: str, digest: str) -> int:
    """Remember that a release folder was published as a revision; give how many turns are in it.

    Args:
        store: the open store.
        repository: such as `user/cats_alpaca`.
        revision: the commit, or a tag.
        digest: `cats_alpaca.release.digest` of the folder.
    """
    with writing(store):
        store.execute(
            "INSERT OR IGNORE INTO publications (repository, revision, turn)"
            " SELECT ?, ?, turn FROM builds WHERE digest = ?",
            (repository, revision, digest),
        )
        [count] = store.execute(
            "SELECT count(*) FROM publications WHERE repository = ? AND revision = ?", (repository, revision)
        ).fetchone()
    return int(count)
