"""Which lines become which shard: line-aligned ranges of the sources, planned before anything is read.

A plan follows from the sources' names and sizes alone, never from the number of threads or machines. Ranges are counted
from the start of each file and their size only ever doubles, so that lines added at a file's end change its last range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .sources import Look, find_line_starts, look_at

SHARD_BYTES = 500_000_000
"""How many bytes of JSONL become one shard; its file is smaller, for it is compressed."""

RELEASE_FILES = 100
"""More files than this, and the Hub asks for several commits (huggingface.co/docs/hub/repositories-recommendations)."""

LARGEST_BYTES = 32_000_000_000
"""A shard grows no further, however many files there are: its file stays below the 20 GB that the Hub recommends
(huggingface.co/docs/hub/storage-limits)."""

_INFLATED = 4  # what a compressed file becomes, about: only for planning
_UNKNOWN_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """Whole lines of one source.

    Attributes:
        file: the source's name, as the user gave it.
        start: the offset of its first line.
        stop: the offset of the line after it; None is the source's end.
    """

    file: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Portion:
    """What becomes one shard: a range of one source, or several sources as a whole.

    Attributes:
        split: the split to which its stories belong.
        ranges: where they are.
        size: how many bytes they have, about where that is not known.
        files: how many shards it may become, because nobody knows how long it is before it is read.
    """

    split: str
    ranges: tuple[Range, ...]
    size: int
    files: int = 1


_OTHER_FILES = 12
"""The card, the pictures, `dataset_info.json`, and a feedback store's: a shard a config, and two configs."""


def most_portions(configs: int, splits: int) -> int:
    """Say how many portions make no more than a hundred files, all others among them.

    >>> most_portions(configs=4, splits=1)
    22
    """
    return max((RELEASE_FILES - _OTHER_FILES) // (configs * splits), 1)


def plan_portions(
    sources: Sequence[tuple[str, str]], *, encoding: str | None, shard_bytes: int, most: int
) -> tuple[list[Portion], int]:
    r"""Cut sources, each a split and a name, into portions; give them and how many bytes one has at most.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "cats.jsonl")
    >>> _ = file.write_bytes(b'{"question": "why"}\n' * 5)
    >>> portions, shard_bytes = plan_portions([("train", str(file))], encoding=None, shard_bytes=50, most=24)
    >>> [(range.start, range.stop) for portion in portions for range in portion.ranges], shard_bytes
    ([(0, 60), (60, 100)], 50)

    Args:
        sources: splits and sources, in order.
        encoding: of a file without a byte-order mark.
        shard_bytes: how many bytes of JSONL a portion has; doubled until there are no more than `most` of them, but not
            past 32 GB.
        most: how many shards there should be.

    Raises:
        SourceError: when a source cannot be opened, or the encoding is not known.
    """
    looks = [(split, file, look_at(file, encoding)) for split, file in sources]
    total = sum(_weight(look, _UNKNOWN_BYTES) for *_, look in looks)
    while (files := sum(portion.files for portion in _pack(looks, shard_bytes))) > most and shard_bytes < total:
        if 2 * shard_bytes > LARGEST_BYTES:
            most = files
        else:
            shard_bytes *= 2
    return list(_aligned(_spread(list(_pack(looks, shard_bytes)), most))), shard_bytes


def part_bytes(portion: Portion, part: int, shard_bytes: int) -> int | None:
    """Say how many bytes one of a portion's shards takes: later ones more and more, the last one all the rest.

    >>> [part_bytes(Portion("train", (Range("-"),), 0, files=5), part, 10) for part in range(5)]
    [10, 10, 10, 20, None]
    """
    if part + 1 >= portion.files:
        return None
    return int(shard_bytes * 2 ** max(part - portion.files // 2, 0))


def _weight(look: Look, shard_bytes: int) -> int:
    """Guess a source's bytes; one of which nothing is known fills a shard, up to a size."""
    if look.size is None:
        return min(shard_bytes, _UNKNOWN_BYTES)
    return look.size * (_INFLATED if look.compressed else 1)


def _pack(looks: Sequence[tuple[str, str, Look]], shard_bytes: int) -> Iterator[Portion]:
    """Cut large files, put small neighbours together."""
    small: list[tuple[str, str, Look]] = []
    filled = 0
    for split, file, look in looks:
        weight = _weight(look, shard_bytes)
        if small and (small[0][0] != split or filled + weight > shard_bytes):
            yield _together(small, filled, shard_bytes)
            small, filled = [], 0
        if weight <= shard_bytes or not look.splittable:
            small.append((split, file, look))
            filled += weight
        else:
            for start in range(0, weight, shard_bytes):
                stop = min(start + shard_bytes, weight)
                yield Portion(split, (Range(file, start, stop),), stop - start)
    if small:
        yield _together(small, filled, shard_bytes)


def _together(small: Sequence[tuple[str, str, Look]], size: int, shard_bytes: int) -> Portion:
    # What cannot be cut now may turn out longer than it looks, and is cut while it is read.
    files = 1 if len(small) > 1 or small[0][2].splittable else 2 * -(-size // shard_bytes) or 1
    return Portion(small[0][0], tuple(Range(file) for _, file, _ in small), size, files)


def _spread(portions: Sequence[Portion], most: int) -> Iterator[Portion]:
    """Share what is left of the files among the sources that cannot be cut before they are read."""
    streams = sum(portion.files > 1 for portion in portions)
    more = (most - sum(portion.files for portion in portions)) // (streams or 1)
    for portion in portions:
        yield replace(portion, files=max(portion.files + more, 1)) if portion.files > 1 else portion


def _aligned(portions: Iterator[Portion]) -> Iterator[Portion]:
    """Move the bounds within files to where a line starts; a portion in which none does is no more."""
    for portion in portions:
        [first, *_] = portion.ranges
        if first.stop is None:
            yield portion
            continue
        start, stop = find_line_starts(first.file, (first.start, first.stop))
        if start < stop:
            yield replace(portion, ranges=(Range(first.file, start, stop),), size=stop - start)
