"""What several stories have in common: duplicates, leaks from split to split, worn openings and phrases.

Texts are compared by the set of their character trigrams after NFKC and without white space, for Japanese has no words
between spaces. Every text leaves a hash and a MinHash signature of half a kilobyte; pairs that these make likely are
compared by their true Jaccard similarity, for which their texts are read again.

The signatures come from `rensa` (Rust): some microseconds for a text of 400 characters, where `datasketch` takes as
many milliseconds. It takes trigrams as numbers, without a Python object for each, and it needs no model, as `semhash`
does. What is likely is found here, with numpy: among few stories every pair is looked at, among many those that agree
in a band of their signatures (locality-sensitive hashing).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import rensa

PERMUTATIONS = 256
FEW = 3_000
"""Up to so many stories, all pairs are looked at: nothing is missed."""

_BITS = np.uint64(21)  # of a code point
_MARGIN = 0.13  # four standard deviations of a similarity that 256 permutations estimate

Pairs = np.ndarray
"""Numbers of two texts a row, the smaller one first."""


def normal(text: str) -> str:
    """Normalize a text for comparison: NFKC, no white space.

    >>> normal("ﾈｺ は　寝る")
    'ネコは寝る'
    """
    return "".join(unicodedata.normalize("NFKC", text).split())


def trigrams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Give the trigrams of normal texts as exact numbers, one after the other, and where each text's begin and end.

    >>> numbers, offsets = trigrams(["ねこねこ", "ね"])
    >>> len(set(numbers.tolist())), offsets.tolist()
    (2, [0, 2, 2])
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.uint64)
    numbers = codes[:-2] << 2 * _BITS | codes[1:-1] << _BITS | codes[2:]
    ends = np.cumsum(lengths)
    inside = np.ones(len(numbers), bool)
    for back in (1, 2):  # those that begin in one text and end in the next
        across = ends[:-1] - back
        inside[across[(across >= 0) & (across < len(numbers))]] = False
    counts = np.array([max(length - 2, 0) for length in lengths.tolist()], np.int64)
    return numbers[inside], np.concatenate(([0], np.cumsum(counts)))


def signatures(texts: Sequence[str]) -> np.ndarray:
    """Give the MinHash signatures of normal texts, of 16 bits a permutation: one row a text.

    >>> some, same, other = signatures(["朝ごはんを食べません。", "朝ごはんを食べません。", "くしゃみが出ます。"])
    >>> (some == same).all(), (some == other).mean() < 0.1
    (np.True_, np.True_)
    """
    numbers, offsets = trigrams(texts)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(numbers, offsets.astype(np.uint64), PERMUTATIONS, 42)
    return np.array(matrix.to_rows(), np.uint32).reshape(len(texts), PERMUTATIONS).astype(np.uint16)


def similarity(some: str, other: str) -> float:
    """Compute the true Jaccard similarity of two normal texts' trigrams.

    >>> similarity("ねこねこ", "ねこねこ"), similarity("ねこが寝る", "いぬが走る")
    (1.0, 0.0)
    """
    a, b = ({text[at : at + 3] for at in range(len(text) - 2)} for text in (some, other))
    return len(a & b) / len(a | b) if a or b else float(some == other)


def likely_pairs(rows: np.ndarray, splits: np.ndarray, near: float, leak: float) -> Pairs:
    """Find the pairs that may be similar: `near` or more within a split, `leak` or more across two.

    Args:
        rows: signatures.
        splits: the number of each text's split.
        near: a Jaccard similarity, between 0 and 1.
        leak: the same, for texts of two splits.
    """
    if len(rows) <= FEW:
        found = np.column_stack(np.triu_indices(len(rows), 1))
    else:
        across = len(np.unique(splits)) > 1
        found = np.concatenate(
            [np.empty((0, 2), np.int64), *_banded_pairs(rows, 4), *(_banded_pairs(rows, 3, splits) if across else ())]
        )
        found = np.unique(found, axis=0)
    kept = [found[:0]]
    for at in range(0, len(found), 1 << 16):
        part = found[at : at + (1 << 16)]
        alike = (rows[part[:, 0]] == rows[part[:, 1]]).mean(axis=1)
        limits = np.where(splits[part[:, 0]] == splits[part[:, 1]], near, leak) - _MARGIN
        kept.append(part[alike >= limits])
    return np.concatenate(kept)


def _banded_pairs(rows: np.ndarray, width: int, splits: np.ndarray | None = None) -> Iterator[Pairs]:
    """Pair texts whose signatures agree in a band of some permutations; where splits are given, only across them.

    Bands of 4 find 98 % of the pairs that are alike by 0.5 (1 - (1 - 0.5⁴)⁶⁴), bands of 3 98 % of those by 0.35.
    """
    for start in range(0, PERMUTATIONS - width + 1, width):
        keys = np.zeros(len(rows), np.uint64)
        for place in range(width):
            keys = keys << np.uint64(16) | rows[:, start + place]
        ordered = np.sort(keys)
        shared = np.flatnonzero(np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]]))
        shared = shared[np.argsort(keys[shared], kind="stable")]
        borders = np.flatnonzero(np.diff(keys[shared])) + 1
        for members in np.split(shared, borders) if len(shared) else ():
            pairs = _pairs_of(members)
            yield pairs if splits is None else pairs[splits[pairs[:, 0]] != splits[pairs[:, 1]]]


def _pairs_of(members: np.ndarray) -> Pairs:
    """Pair the members of a group; of a crowd, each with its neighbour and with the first: so each is seen once."""
    if len(members) <= 8:
        return members[np.column_stack(np.triu_indices(len(members), 1))]
    neighbours = np.column_stack((members[:-1], members[1:]))
    return np.concatenate((neighbours, np.column_stack((np.repeat(members[0], len(members) - 2), members[2:]))))


def hashes(texts: Sequence[str]) -> np.ndarray:
    """Hash texts to 64 bits each, the same in every process.

    >>> hashes(["ね", "こ", "ね"])[[0, 2]].tolist() == [int(hashes(["ね"])[0])] * 2
    True
    """
    return np.fromiter(
        (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") for text in texts), np.uint64
    )


def worn_phrases(texts: Sequence[str], length: int, share: float) -> Iterator[tuple[int, str, int]]:
    """Find runs of characters in more than a share of the texts: the first text, the run, how many texts have it.

    >>> list(worn_phrases(["病院へ行きましょう。", "今日病院へ行きましょうか。", "寝ます。"], 8, 0.5))
    [(0, '病院へ行きましょ', 2), (0, '院へ行きましょう', 2)]
    """
    numbers, offsets = _runs(texts, length)
    owners = np.repeat(np.arange(len(texts)), np.diff(offsets))
    order = np.lexsort((owners, numbers))
    numbers, owners = numbers[order], owners[order]
    distinct = (
        np.concatenate(([True], (np.diff(numbers) != 0) | (np.diff(owners) != 0))) if len(numbers) else numbers > 0
    )
    starts = np.flatnonzero(np.concatenate(([True], np.diff(numbers) != 0))) if len(numbers) else np.empty(0, int)
    counts = np.add.reduceat(distinct, starts) if len(numbers) else starts
    worn = counts > max(1, share * len(texts))
    for position, count in sorted(zip(order[starts[worn]].tolist(), counts[worn].tolist(), strict=True)):
        text = int(np.searchsorted(offsets, position, "right")) - 1
        at = position - int(offsets[text])
        yield text, texts[text][at : at + length], int(count)


def _runs(texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash every run of characters of each text (a polynomial modulo 2⁶⁴); say where each text's begin and end."""
    parts = []
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
        count = max(len(codes) - length + 1, 0)
        total = np.zeros(count, np.uint64)
        for place in range(length):
            total = total * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + count]
        parts.append(total)
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
    return (np.concatenate(parts) if parts else np.empty(0, np.uint64)), offsets
