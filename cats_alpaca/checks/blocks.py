"""One block of stories: what is wrong with each by itself, and what is kept of it to compare it with all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..exact import Keys, Problem
from ..sources import Block
from ..stories import read_block
from . import sameness
from .rules import Finding, finding
from .texts import find_in_answers, find_in_texts

TEXTS = ("question", "answer")
OPENING = 12
KANA = 0.3
_BRACKETS = ("()", "[]", "{}", "「」", "『』", "【】", "“”")


@dataclass
class Part:
    """What is left of a block, or of all: an item a story in every list and array."""

    files: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    file: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    split: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    line: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    ids: list[str] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    experiences: list[str] = field(default_factory=list)
    lengths: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int32))
    hashes: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    openings: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    question_signatures: np.ndarray = field(default_factory=lambda: np.empty((0, sameness.PERMUTATIONS), np.uint16))
    answer_signatures: np.ndarray = field(default_factory=lambda: np.empty((0, sameness.PERMUTATIONS), np.uint16))
    sample: list[str] = field(default_factory=list)


def examine_block(numbered: tuple[int, Block], keys: Keys, max_line_bytes: int, sample: int) -> Part:
    """Examine a block of the split of that number, and keep the first `sample` answers; works in any process."""
    split, block = numbered
    result = read_block(block, keys, max_line_bytes, extras=True)
    stories, lines = result.stories, list(result.lines)
    part = Part([block.file], [problem._replace(raw=b"") for problem in result.problems])
    if not lines:
        return part
    columns = {name: stories[name].to_pylist() for name in stories.schema.names}
    normal = {name: [sameness.normal(text) for text in columns[name]] for name in TEXTS}
    rows = (
        *find_in_texts(stories),
        *find_in_answers(columns["question"], columns["answer"], columns["topic"]),
        *_find_in_characters(normal["answer"]),
    )
    part.findings = [finding(rule, block.file, lines[row], columns["id"][row], text) for row, rule, text in rows]
    count = len(lines)
    part.file, part.split = np.zeros(count, np.int32), np.full(count, split, np.int8)
    part.line = np.array(lines, np.int64)
    part.ids, part.topics, part.experiences = columns["id"], columns["topic"], columns["experience"]
    part.lengths = np.array([[len(text) for text in columns[name]] for name in (*TEXTS, "context")], np.int32).T
    part.hashes = np.column_stack([sameness.hashes(normal[name]) for name in TEXTS])
    part.openings = np.column_stack([sameness.hashes([text[:OPENING] for text in normal[name]]) for name in TEXTS])
    part.question_signatures, part.answer_signatures = (sameness.signatures(normal[name]) for name in TEXTS)
    part.sample = normal["answer"][:sample]
    return part


def _find_in_characters(answers: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Count kana and brackets in all answers at once."""
    lengths = np.fromiter(map(len, answers), np.int64, len(answers))
    codes = np.frombuffer("".join(answers).encode("utf-32-le"), np.uint32)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    kana = np.add.reduceat((codes >= 0x3041) & (codes <= 0x30FF), starts, dtype=np.int64)
    for row in np.flatnonzero((kana < KANA * lengths) & (lengths >= 10)).tolist():  # of a word nobody can tell
        yield row, "not-japanese", f"only {kana[row] / lengths[row]:.0%} of the answer is kana"
    for opening, closing in map(tuple, _BRACKETS):
        difference = np.add.reduceat(
            (codes == ord(opening)).astype(np.int8) - (codes == ord(closing)), starts, dtype=np.int64
        )
        for row in np.flatnonzero(difference).tolist():
            if opening != "(" or not _is_enumeration(answers[row]):
                yield row, "unbalanced", f"the answer has {opening} and {closing} in different numbers"


def _is_enumeration(answer: str) -> bool:
    """Say whether brackets only close because they number things: 1) 2)."""
    return answer.count(")") - answer.count("(") == sum(answer.count(f"{number})") for number in range(1, 10))
