"""What may leave the store today, as data: turns with both consents, that quote nothing without, and pass the checks.

`build` takes them from the store itself, so that what is taken back is in none of what is built afterwards.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ..checks import RULES
from ..checks.sameness import normal
from ..checks.texts import find_in_texts
from ..errors import FeedbackError
from ..formats import FEEDBACK_CONFIGS, TURNS, turns_to_stories
from .store import Store
from .withdrawal import find_withdrawn, load_withdrawn, tell_turn

FILES = ("stories.jsonl", "preference.jsonl", "kto.jsonl", "withdrawn.txt")

# What may not be published even as an example of a bad answer; that it is wrong or dangerous is the point of one.
_NEVER = (
    "template-marker", "control-character", "mojibake", "email", "phone-number", "address", "my-number", "card-number",
    "api-key",
)  # fmt: skip


class Held(NamedTuple):
    """A turn that stays in the store.

    Attributes:
        turn: its id.
        code: `no-consent`, `not-judged`, `withdrawn`, `quotes` (what may not leave), or the id of a check's rule.
        reason: in words, with the next step.
    """

    turn: str
    code: str
    reason: str


@dataclass(frozen=True)
class Given:
    """What leaves the store.

    Attributes:
        turns: as `formats.TURNS`, in the order in which they were asked.
        held: the turns that stay.
        refuse: tells of stories read elsewhere which must not be in a release: what was withdrawn, and what this store
            holds itself.
    """

    turns: pa.RecordBatch
    held: list[Held]
    refuse: Callable[[pa.RecordBatch], Iterator[tuple[int, str, str]]]

    @property
    def ids(self) -> list[str]:
        """The ids of the turns."""
        ids: list[str] = self.turns["id"].to_pylist()
        return ids


def collect(store: Store) -> Given:
    """Collect what may leave the store today.

    >>> import tempfile
    >>> from cats_alpaca.feedback import ask, join, open_store, rate, set_consent
    >>> with open_store(tempfile.mkdtemp() + "/cats.sqlite") as store:
    ...     me = join(store)
    ...     turn = ask(store, me, "ミケ", "夜中に鳴きます").id
    ...     rate(store, me, turn, "down", correction="寝る前に遊んであげましょう。")
    ...     before = collect(store).ids
    ...     for what in ("train", "publish"):
    ...         set_consent(store, me, what, True)
    ...     before, collect(store).ids == [turn]
    ([], True)
    """
    store.execute("BEGIN")  # one moment for all that is read
    try:
        found = [_Candidate(*row) for row in store.execute(_CANDIDATES)]
        known, withdrawn = {one.id for one in found}, load_withdrawn(store)
    finally:
        store.execute("ROLLBACK")
    held = [stays for one in found if (stays := _hold(one, withdrawn))]
    gone = {one.turn for one in held}
    turns = pa.RecordBatch.from_pylist([one._asdict() for one in found if one.id not in gone], TURNS)
    turns, failed = _pass_checks(turns)
    given = frozenset(turns["id"].to_pylist())

    def refuse(stories: pa.RecordBatch) -> Iterator[tuple[int, str, str]]:
        columns = (stories[name].to_pylist() for name in ("id", "question", "answer"))
        for row, (id_, question, answer) in enumerate(zip(*columns, strict=True)):
            if id_ in given:
                yield row, "in-store", f"{id_} is taken from the feedback store"
            elif id_ in known or withdrawn(id_, question, answer):
                yield row, "withdrawn", "was taken back, or may not leave the feedback store"

    return Given(turns, [*held, *failed], refuse)


_CANDIDATES = """
    SELECT t.id, t.question, t.context, t.experience, t.answer, t.verdict, t.correction,
        c.contributor IN consenting,
        EXISTS (SELECT 1 FROM tombstones WHERE id = t.id),
        (SELECT q.experience FROM quotes q LEFT JOIN experiences e ON e.id = q.experience
            LEFT JOIN cats o ON o.id = e.cat
            WHERE q.turn = t.id AND (e.id IS NULL OR NOT e.shared OR o.contributor NOT IN consenting) LIMIT 1),
        (SELECT e.id FROM quotes q JOIN experiences e ON e.id = q.experience JOIN cats o ON o.id = e.cat
            WHERE q.turn = t.id AND NOT e.shared AND o.contributor = c.contributor LIMIT 1)
    FROM turns t JOIN cats c ON c.id = t.cat ORDER BY t.number"""


class _Candidate(NamedTuple):
    """A turn, and what decides whether it may leave: the columns of `_CANDIDATES`."""

    id: str
    question: str
    context: str
    experience: str
    answer: str
    verdict: str
    correction: str
    consents: int
    withdrawn: int
    quoted: str | None
    private: str | None


def _hold(one: _Candidate, withdrawn: Callable[..., bool]) -> Held | None:
    """Say why a turn may not leave the store, if so."""
    if not one.consents:
        return Held(one.id, "no-consent", "its contributor has not given both consents")
    if one.withdrawn:
        return Held(one.id, "withdrawn", "it quotes an experience that was taken back")
    if any(withdrawn(one.id, *texts) for texts in tell_turn(one.question, one.answer, one.correction)):
        return Held(one.id, "withdrawn", "the same words were taken back by whoever wrote them first")
    if not one.verdict and not one.correction:
        return Held(one.id, "not-judged", "nobody has judged its answer; cats-alpaca feedback rate")
    if one.private:
        step = f"share it: cats-alpaca feedback consent --share {one.private}"
        return Held(one.id, "quotes", f"it quotes {one.private}, which is shared with nobody; {step}")
    if one.quoted:
        reason = "it quotes an experience whose owner has not given both consents, or not shared it"
        return Held(one.id, "quotes", reason)
    return None


def _pass_checks(turns: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Held]]:
    """Keep the turns on which `check` would find no error, neither in the good texts nor, of the graver, in the bad."""
    stories = turns_to_stories(turns)
    failed = {one.turn: one for one in (*_find_errors(stories, RULES), *_find_errors(turns, _NEVER))}
    left = stories.filter(pa.array([id_ not in failed for id_ in stories["id"].to_pylist()], pa.bool_()))
    failed |= {one.turn: one for one in _find_same(left)}
    kept = turns.filter(pa.array([id_ not in failed for id_ in turns["id"].to_pylist()], pa.bool_()))
    return kept, list(failed.values())


def _find_errors(texts: pa.RecordBatch, rules: Iterable[str]) -> Iterator[Held]:
    ids = texts["id"].to_pylist()
    for row, rule, message in find_in_texts(texts):
        severity, step = RULES[rule]
        if rule in rules and severity == "error":
            yield Held(ids[row], rule, f"{message}; {step}")


def _find_same(stories: pa.RecordBatch) -> Iterator[Held]:
    ids = stories["id"].to_pylist()
    for column in ("question", "answer"):
        first: dict[str, str] = {}
        for id_, text in zip(ids, stories[column].to_pylist(), strict=True):
            if (other := first.setdefault(normal(text), id_)) != id_:
                yield Held(id_, f"duplicate-{column}", f"the {column} is that of {other}")


# ---- a folder of files


def export(store: Store, folder: str | Path) -> Given:
    """Write what may leave the store today to a folder: whole, or not at all.

    It holds `stories.jsonl`, which `build` and `check` take, `preference.jsonl` and `kto.jsonl`, and `withdrawn.txt`:
    the ids of the turns that must be in no revision any more. An older export there is replaced.

    Raises:
        FeedbackError: when something else is in the folder.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    given = collect(store)
    rows = {"stories": turns_to_stories(given.turns)}
    rows |= {name: to_rows(given.turns) for name, (_, to_rows) in FEEDBACK_CONFIGS.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as workshop:
        made = Path(workshop, "new")
        made.mkdir()
        for name, batch in rows.items():
            _write_lines(made / f"{name}.jsonl", map(_as_line, batch.to_pylist()))
        _write_lines(made / "withdrawn.txt", find_withdrawn(store))
        _put_in_place(made, folder, Path(workshop, "old"))
    return given


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FeedbackError(f"{folder}: is a file; name a folder")
    foreign = sorted({one.name for one in folder.iterdir()} - set(FILES)) if folder.exists() else []
    if foreign:
        raise FeedbackError(f"{folder}: holds {foreign[0]}, which is no export; name another folder")


def _as_line(row: dict[str, object]) -> str:
    """Write a row as JSON, without the keys of a story that say nothing."""
    return json.dumps({key: value for key, value in row.items() if value != ""}, ensure_ascii=False)


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


def _put_in_place(made: Path, folder: Path, old: Path) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        made.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
