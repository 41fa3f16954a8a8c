"""JSONL of experiences and turns becomes entries of the store: a diary kept elsewhere, or another store's.

All lines are read before anything is written, so that a slow source keeps nobody from writing; then all good lines go
in together. A line with a `question` is a turn, any other an experience.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..errors import FeedbackError, StoriesError
from ..exact import BadLineError, Problem, Record, read_each, read_texts
from ..sources import BLOCK_BYTES, find_files, read_blocks
from ..stories import MAX_LINE_BYTES, Report
from .store import (
    ANSWER,
    NAME,
    NOTE,
    QUESTION,
    Store,
    check_contributor,
    check_verdict,
    checked,
    checked_date,
    clean_experience,
    insert_experience,
    insert_turn,
    new_id,
    writing,
)
from .withdrawal import is_withdrawn, tell_turn

_EXPERIENCE = (("cat", "date", "seen"), ("done", "outcome", "feeling"))
_TURN = (("cat", "date", "question"), ("context", "answer", "model", "verdict", "correction"))
_ID = re.compile(r"(?:exp|fb)-[a-z2-7]{16}")


class Imported(NamedTuple):
    """How many lines became entries, and how many were in the store already."""

    added: int
    known: int


class _Line(NamedTuple):
    file: str
    line: int
    record: Record


def import_lines(
    store: Store,
    who: str,
    sources: str | Iterable[str],
    *,
    encoding: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    progress: Callable[[int], object] | None = None,
    report: Report | None = None,
    on_problem: Callable[[Problem], object] | None = None,
) -> Imported:
    r"""Import lines as a contributor's own: all good ones at once, or none.

    >>> import pathlib, tempfile
    >>> from cats_alpaca.feedback import join, open_store
    >>> file = pathlib.Path(tempfile.mkdtemp(), "diary.jsonl")
    >>> _ = file.write_text('{"cat": "ミケ", "date": "2024-11-08", "seen": "くしゃみが二回"}\n', "utf-8")
    >>> with open_store(file.with_name("cats.sqlite")) as store:
    ...     me = join(store)
    ...     import_lines(store, me, str(file)), import_lines(store, me, str(file))
    (Imported(added=1, known=0), Imported(added=0, known=1))

    Args:
        store: the open store.
        who: the contributor whose entries they become.
        sources: paths, patterns or URLs, as `read_stories` takes them. An experience has `cat`, `date`, `seen`, and may
            have `done`, `outcome`, `feeling` and `shared` (`group` or `nobody`); a turn has `cat`, `date`, `question`,
            and may have `answer`, `model`, `verdict` (`up` or `down`) and `correction`. Both may have the `id` that a
            store gave them.
        encoding: of files without a byte-order mark; None is UTF-8.
        max_line_bytes: a longer line is a problem.
        progress: is called with the number of bytes that were read since the last call.
        report: is filled; what was withdrawn counts as rejected, but is no error.
        on_problem: is called with every bad line; it is left out. Without it, bad lines raise an error.

    Raises:
        SourceError: when a source cannot be read.
        StoriesError: when there were bad lines and no `on_problem`; nothing was imported then.
        FeedbackError: when there is no such contributor.
    """
    report = Report() if report is None else report
    check_contributor(store, who)
    lines: list[_Line] = []
    for file in find_files(sources):
        for block in read_blocks(
            file, encoding=encoding, max_line_bytes=max_line_bytes, block_bytes=BLOCK_BYTES, progress=progress
        ):
            numbers, records, problems = read_each(block, max_line_bytes, _read)
            report.add(len(records), problems)
            lines += (_Line(file, *pair) for pair in zip(numbers, records, strict=True))
            for problem in problems if on_problem else ():
                on_problem(problem)  # type: ignore[misc]
    if report.rejected and not on_problem:
        raise StoriesError(report)
    with writing(store):
        outcomes = [_insert(store, who, line) for line in lines]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
        report.read, report.kept = report.read - len(refused), report.kept - len(refused)
        report.add(0, refused)
        if any(problem.code != "withdrawn" for problem in refused) and not on_problem:
            raise StoriesError(report)
    for problem in refused if on_problem else ():
        on_problem(problem)  # type: ignore[misc]
    return Imported(outcomes.count("added"), outcomes.count("known"))


def _read(text: str) -> Record:
    """Read a line, and check all that can be checked without the store."""
    record = read_texts(text, (), ("question", "id", "shared"))
    required, optional = _TURN if "question" in record else _EXPERIENCE
    found = read_texts(text, (), (*required, *optional))
    id_ = record.get("id", "")
    if not _ID.fullmatch(id_):
        id_ = ""
        read_texts(text, required, ())
    if all(key in found for key in required):
        try:
            found = _clean_turn(found) if "question" in found else clean_experience(**found)
        except FeedbackError as error:
            raise BadLineError("bad-value", str(error)) from None
    return found | {"id": id_, "shared": _checked_shared(record.get("shared", "nobody"))}


def _checked_shared(shared: str) -> str:
    if shared not in ("group", "nobody"):
        raise BadLineError("bad-value", "'shared' is group or nobody")
    return shared


def _clean_turn(record: Record) -> Record:
    turn = {
        "cat": checked("cat", record["cat"], NAME, required=True),
        "date": checked_date(record["date"]),
        "question": checked("question", record["question"], QUESTION, required=True),
        "answer": checked("answer", record.get("answer", ""), ANSWER),
        "model": checked("model", record.get("model", ""), NOTE),
        "correction": checked("correction", record.get("correction", ""), ANSWER),
        "verdict": record.get("verdict", ""),
    }
    if turn["verdict"] not in ("", "up", "down"):
        raise FeedbackError("verdict: is up or down")
    if turn["verdict"] or turn["correction"]:
        check_verdict("the turn", turn["answer"], turn["correction"])
    return turn | {"context": record.get("context", ""), "experience": ""}


def _insert(store: Store, who: str, line: _Line) -> str | Problem:
    """Insert a line: `added`, or `known` when it is there already, or a problem when it may not come in."""
    record = line.record
    if any(is_withdrawn(store, record["id"], *texts) for texts in _told(record)):
        return Problem(line.file, line.line, 0, "withdrawn", "was taken back, so it is not taken in again")
    if owner := _find_owner(store, who, record):
        if owner != who:
            return Problem(line.file, line.line, 0, "not-yours", "this id is another contributor's")
        return "known"
    if "cat" not in record or "date" not in record:
        return Problem(line.file, line.line, 0, "missing-key", "there is no key 'cat' or 'date'")
    if record.get("context"):
        reason = "a context quotes experiences, whose owners' consent is not known here; import those instead"
        return Problem(line.file, line.line, 0, "context", reason)
    fields = {name: text for name, text in record.items() if name not in ("id", "shared")}
    if "question" in record:
        insert_turn(store, who, record["id"] or new_id("fb"), fields)
    else:
        insert_experience(store, who, record["id"] or new_id("exp"), fields, record["shared"] == "group")
    return "added"


def _told(record: Record) -> Iterator[tuple[str, ...]]:
    """Give the texts by which a forgotten entry is known again."""
    if "question" in record:
        yield from tell_turn(record["question"], record.get("answer", ""), record.get("correction", ""))
    else:
        yield tuple(record.get(name, "") for name in ("date", *_TOLD))


def _find_owner(store: Store, who: str, record: Record) -> str | None:
    """Find whose an entry is that is in the store already: under its id, or with the same words for the same cat."""
    table: str = "experiences"
    told: tuple[str, ...] = ("date", *_TOLD)
    if "question" in record:
        answered = record.get("answer") or record.get("correction")
        table, told = "turns", ("question", "answer", "correction") if answered else ("date", "question", "answer")
    join = f"SELECT c.contributor FROM {table} one JOIN cats c ON c.id = one.cat WHERE "  # noqa: S608
    found = store.execute(join + "one.id = ?", (record["id"],)).fetchone()
    if not found and "date" in record:
        same = " AND ".join(f"one.{name} = ?" for name in told)
        values = [record.get(name, "") for name in ("cat", *told)]
        found = store.execute(join + f"c.contributor = ? AND c.name = ? AND {same}", (who, *values)).fetchone()
    return str(found[0]) if found else None


_TOLD = ("seen", "done", "outcome")
