"""What a trainer would learn from a row, decoded, against the story that it should learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

IGNORED = -100
Decode = Callable[[Sequence[int]], str]
"""Turns token ids into text, special tokens and all."""


@dataclass(frozen=True)
class Row:
    """One row as it reaches the model."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def start(self) -> int:
        """Tell where the training starts; a row without any trained token starts at its end."""
        return next((at for at, label in enumerate(self.labels) if label != IGNORED), len(self.labels))

    @property
    def stop(self) -> int:
        """Tell where it ends."""
        return len(self.labels) - next((at for at, label in enumerate(self.labels[::-1]) if label != IGNORED), 0)


def faults(
    rows: Iterable[Row], stories: list[dict[str, str]], decode: Decode, begin: int, before: str, end: str
) -> list[str]:
    """Name everything that differs between the rows, in any order, and what the stories say."""
    by_answer = {before + story["answer"] + end: story for story in stories}
    assert len(by_answer) == len(stories), "two stories share an answer"
    found, seen = [], Counter[str]()
    for row in rows:
        trained = decode(row.labels[row.start : row.stop]) if IGNORED not in row.labels[row.start : row.stop] else ""
        if story := by_answer.get(trained):
            seen[trained] += 1
            found += [f"{story['id']}: {fault}" for fault in _faults_of_prompt(row, story, decode, begin)]
        else:
            found.append(f"trained on what no story says: {trained[:40]!r} … {trained[-40:]!r}")
    found += [
        f"{story['id']}: trained {seen[answer]} times" for answer, story in by_answer.items() if seen[answer] != 1
    ]
    return found


def _faults_of_prompt(row: Row, story: dict[str, str], decode: Decode, begin: int) -> Iterator[str]:
    prompt = decode(row.ids[: row.start])
    if row.ids[row.start : row.stop] != row.labels[row.start : row.stop]:
        yield "the labels are not the tokens that the model sees"
    if any(label != IGNORED for label in row.labels[row.stop :]):
        yield "something behind the end is trained"
    for name in ("question", "context"):
        if prompt.count(story[name]) != 1 and story[name]:
            yield f"the prompt holds the {name} {prompt.count(story[name])} times"
    if story["answer"] in prompt:
        yield "the prompt holds the answer"
    if "None" in prompt:
        yield "the prompt says None"
    if begin in row.ids[1:]:
        yield f"{row.ids.count(begin)} begin tokens, one of them not at the beginning"
    for mark in ("### Instruction:", "### Response:", "<|start_header_id|>user", "<|start_header_id|>assistant"):
        if prompt.count(mark) > 1:
            yield f"{mark} {prompt.count(mark)} times: a template in a template"
