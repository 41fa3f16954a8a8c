"""Lines that hold nothing but strings without escapes: their quotes tell where every text begins and ends.

Most files are written by one program, which writes all records alike. What stands between their texts is then one of a
few pieces, such as `", "answer": "`: it is enough to see each of them once, and much faster than to parse every line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

_QUOTE = ord('"')
_MOST_PIECES = 256
_ZERO = np.zeros(1, np.int32)

# What may stand before a text: the end of the text before it, perhaps of its line, then a key.
_PIECE = re.compile(rb'(?:" *(?:,|(?P<next>\} *\n *\{))| *\{) *"(?P<key>[^"\n]*)" *: *"')
_END = re.compile(rb'" *\} *\n?')


def read_alike(text: bytes, newlines: np.ndarray, names: Mapping[str, str]) -> dict[str, pa.StringArray] | None:
    r"""Read lines of UTF-8 as columns, or give None where they are not as simple as that, or some lack a story.

    >>> text = b'{"q": "why", "n": "1"}\n{"q": "how", "n": "22"}\n'
    >>> columns = read_alike(text, np.array([22, 46]), {"q": "question", "c": "context"})
    >>> {name: column.to_pylist() for name, column in columns.items()}
    {'question': ['why', 'how'], 'context': ['', '']}

    Args:
        text: lines of valid UTF-8.
        newlines: where they end.
        names: the keys that are wanted, and what their columns are called.
    """
    content = np.frombuffer(text, np.uint8)
    if b"\\" in text or np.count_nonzero(content < 0x20) != len(newlines):
        return None
    quotes = np.flatnonzero(content == _QUOTE).astype(np.int32)
    if not len(quotes) or len(quotes) % 4:
        return None
    # Of four quotes, two are a key's and two are a text's; where that is not so, a piece is not as it must be.
    starts, ends = quotes[2::4] + 1, quotes[3::4]
    pieces = _texts(text, np.concatenate((_ZERO, ends[:-1])), starts).dictionary_encode()
    found = [_PIECE.fullmatch(piece.encode()) for piece in pieces.dictionary[:_MOST_PIECES].to_pylist()]
    if len(found) < len(pieces.dictionary) or None in found or not _END.fullmatch(text[ends[-1] :]):
        return None
    codes = np.frombuffer(pieces.indices.buffers()[1], np.int32, len(pieces))
    line = np.cumsum(_look_up([bool(piece and piece["next"]) for piece in found], codes))
    if line[-1] + text.endswith(b"\n") != len(newlines):
        return None  # a line ends in a text
    keys = [piece["key"].decode() for piece in found if piece]
    columns = {}
    for key, name in names.items():
        at = np.flatnonzero(_look_up([key == one for one in keys], codes))
        bounds = _one_a_line(at, line, starts, ends)
        if bounds is None:
            return None
        columns[name] = _texts(text, *bounds)
    return columns


def _look_up(values: list[bool], codes: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.array(values)[codes]
    return found


def _one_a_line(
    at: np.ndarray, line: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Give where each line's text is, nothing where it has none; None where it has two."""
    if len(at) == line[-1] + 1 and (line[at] == np.arange(len(at))).all():
        return starts[at], ends[at]
    if (np.diff(line[at]) == 0).any():
        return None
    first = starts[np.flatnonzero(np.diff(line, prepend=-1))]
    found = first.copy(), first.copy()
    found[0][line[at]], found[1][line[at]] = starts[at], ends[at]
    return found


def _texts(text: bytes, starts: np.ndarray, ends: np.ndarray) -> pa.StringArray:
    """Copy the texts between ascending bounds: of all that is between any two of them, every second."""
    bounds = np.stack((starts, ends), axis=1).astype(np.int32).ravel()
    parts = pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(text))
    every_second = np.arange(0, len(bounds), 2, dtype=np.int32)
    return parts.take(pa.Array.from_buffers(pa.int32(), len(every_second), [None, pa.py_buffer(every_second)]))
