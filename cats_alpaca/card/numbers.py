"""What a release's stories count up to: topics, contexts, lengths, phrases, and one row to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..formats import CONFIGS
from .facts import Folder, parquet, shards

SPLITS = ("train", "test")
MEASURED = ("question", "context", "answer")
EXPERIENCES = ("own", "others")
_MANY_TOPICS = 1000


class Lengths(Counter[int]):
    """How many texts have each length; so a percentile is exact and needs no list of texts."""

    def at(self, percent: int) -> int:
        """Give the length that so many percent of the texts do not exceed (the nearest rank).

        >>> lengths = Lengths([10, 20, 30, 40])
        >>> lengths.at(50), lengths.at(95), lengths.at(100)
        (20, 40, 40)
        """
        left = max(-(-percent * self.total() // 100), 1)
        for length in sorted(self):
            left -= self[length]
            if left <= 0:
                break
        return length


@dataclass
class Numbers:
    """What the stories of both splits count up to; those of several portions are added up in any order.

    Attributes:
        rows: the number of stories.
        experience: how many of those with a context are of each experience that the card tells.
        topics: how many stories each topic has; those with a context, and those without. Empty where there are
            hardly fewer topics than stories.
        lengths: by column, in characters; only of texts that are not empty.
        phrases: how many answers hold each phrase.
    """

    rows: int = 0
    experience: Counter[str] = field(default_factory=Counter)
    topics: dict[bool, Counter[str]] = field(default_factory=lambda: {True: Counter(), False: Counter()})
    lengths: dict[str, Lengths] = field(default_factory=lambda: {name: Lengths() for name in MEASURED})
    phrases: Counter[str] = field(default_factory=Counter)

    @property
    def contexts(self) -> int:
        """How many stories have a context."""
        return self.lengths["context"].total()

    @property
    def by_topic(self) -> list[tuple[str, int, int]]:
        """The topics, the largest first: name, stories, stories with a context; no nameless one, none if too many."""
        both = self.topics[True] + self.topics[False]
        if not 1 < len(both) <= _MANY_TOPICS or 2 * len(both) > self.rows:
            return []
        return [
            (topic, rows, self.topics[True][topic]) for topic, rows in sorted(both.items(), key=lambda x: (-x[1], x))
        ]

    def add(self, stories: pa.RecordBatch, phrases: Iterable[str]) -> None:
        """Count some stories."""
        self.rows += stories.num_rows
        for name in MEASURED:
            lengths = pc.utf8_length(stories[name])
            self.lengths[name].update(dict(_counts(lengths.filter(pc.greater(lengths, 0)))))
        has_context = pc.not_equal(stories["context"], "")
        for who in EXPERIENCES:
            self.experience[who] += _true(pc.and_(has_context, pc.equal(stories["experience"], who)))
        for with_context, mask in ((True, has_context), (False, pc.invert(has_context))):
            if len(self.topics[with_context]) <= _MANY_TOPICS:
                topics = stories["topic"].filter(pc.and_(mask, pc.not_equal(stories["topic"], "")))
                self._add_topics(with_context, dict(_counts(topics)))
        for phrase in phrases:
            self.phrases[phrase] += _true(pc.match_substring(stories["answer"], phrase))

    def _add_topics(self, with_context: bool, counts: dict[str, int]) -> None:
        """Count topics; of too many, just enough are kept to know that they are."""
        counted = self.topics[with_context]
        counted.update(counts)
        if len(counted) > _MANY_TOPICS + 1:
            self.topics[with_context] = Counter(dict(islice(counted.items(), _MANY_TOPICS + 1)))

    def merge(self, other: Numbers) -> None:
        """Add what other stories count up to."""
        self.rows += other.rows
        self.experience.update(other.experience)
        self.phrases.update(other.phrases)
        for name in MEASURED:
            self.lengths[name].update(other.lengths[name])
        for with_context, counts in other.topics.items():
            self._add_topics(with_context, counts)

    def as_dict(self) -> dict[str, Any]:
        """Give the numbers as JSON's values.

        >>> import json
        >>> numbers = Numbers(rows=3, lengths={name: Lengths([7, 7, 8]) for name in MEASURED})
        >>> Numbers.from_dict(json.loads(json.dumps(numbers.as_dict()))) == numbers
        True
        """
        return {
            "rows": self.rows,
            "experience": dict(self.experience),
            "topics": [dict(self.topics[with_context]) for with_context in (True, False)],
            "lengths": {name: list(found.items()) for name, found in self.lengths.items()},
            "phrases": dict(self.phrases),
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Numbers:
        """Give the numbers back that `as_dict` gave."""
        topics = dict(zip((True, False), map(Counter[str], found["topics"]), strict=True))
        lengths = {name: Lengths(dict(counts)) for name, counts in found["lengths"].items()}
        return cls(found["rows"], Counter(found["experience"]), topics, lengths, Counter(found["phrases"]))


def count(folder: Folder, phrases: Iterable[str] = ()) -> Numbers:
    """Count what the stories of a release folder are like; in bounded memory."""
    numbers = Numbers()
    for batch in batches(folder, "stories"):
        numbers.add(batch, phrases)
    return numbers


def batches(folder: Folder, config: str, splits: Iterable[str] = SPLITS) -> Iterator[pa.RecordBatch]:
    """Read the rows of one config, in order."""
    for split in splits:
        for file in shards(folder, config, split):
            with parquet(file) as opened:
                yield from opened.iter_batches(1000, use_threads=False)


def example(folder: Folder) -> dict[str, dict[str, Any]]:
    """Choose one story of the train split to show, and give its row in every config.

    It is the shortest of the first thousand, of those with a context if there are such.
    """
    first = next(batches(folder, "stories", ["train"])).to_pylist()
    best = min(range(len(first)), key=lambda at: (not first[at]["context"], _size(first[at])))
    return {config: next(batches(folder, config, ["train"])).slice(best, 1).to_pylist()[0] for config in CONFIGS}


def _size(story: dict[str, str]) -> int:
    return sum(len(story[name]) for name in MEASURED)


def _true(values: pa.Array) -> int:
    return pc.sum(values).as_py() or 0


def _counts(values: pa.Array) -> Iterator[tuple[Any, int]]:
    for pair in pc.value_counts(values).to_pylist():
        yield pair["values"], pair["counts"]
