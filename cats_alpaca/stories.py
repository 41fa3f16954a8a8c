"""Bytes of JSONL become Arrow batches of stories, or problems that name file, line, byte and reason.

A block of simple lines is read by its quotes (`alike`), any other by `pyarrow.json`. Where that fails, or where it is
known to be more lenient than RFC 8259 with one object a line, the block is read again line by line: slowly, exactly,
and with an explanation. Nothing here knows of Alpaca.
"""

from __future__ import annotations

import re
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Queue
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from . import exact, path
from .alike import read_alike
from .errors import StoriesError
from .exact import EXTRAS, Keys, Problem
from .sources import BLOCK_BYTES, Block, find_files, find_newlines, read_blocks

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "topic", "question", "answer", "context", "experience")])
"""A story: what a record's keys become. Never null; an empty string where the record has none."""

PACKAGED = {split: str(path() / "stories" / f"cats_stories_{split}.jsonl") for split in ("train", "test")}
"""The packaged stories, by split."""

MAX_LINE_BYTES = 16 << 20
MAX_PROBLEMS = 1000

STORIES = Keys("question", "answer", "context")
ALPACA = Keys("instruction", "output", "input")

_AHEAD = 8
_LARGE = 1 << 20
_WHITE_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))
_SPACES = np.array([int.from_bytes(space.encode(), "big") for space in _WHITE_SPACE], np.uint32)
_MAY_BE_SPACE = np.zeros(4093, bool)  # by remainder: a quick look that leaves next to nothing for a slow one
_MAY_BE_SPACE[_SPACES % len(_MAY_BE_SPACE)] = True
_NOT_A_NUMBER = re.compile(rb"[:,\[][ \t\r]*-?(?:NaN|Inf)")


Refuse = Callable[[pa.RecordBatch], Iterable[tuple[int, str, str]]]

REFUSALS = ("withdrawn", "in-store")
"""Codes of lines that are left out on purpose: there is nothing wrong with them."""

_Item = TypeVar("_Item")


def as_strings(texts: Sequence[str]) -> pa.Array:
    """Make an array of strings, as `pa.array` does; but that imports pandas, more time and memory than a file may need.

    >>> as_strings(["なぜ", ""]).to_pylist()
    ['なぜ', '']
    """
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


_EMPTY = as_strings([""])[0]


@dataclass
class Report:
    """What became of the lines of all sources: `read == kept + rejected`, always.

    Attributes:
        read: lines that are not blank.
        kept: stories.
        rejected: bad lines; `by_code` counts them by their problem's code.
        problems: the first thousand bad lines.
    """

    read: int = 0
    kept: int = 0
    rejected: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, kept: int, problems: Sequence[Problem]) -> None:
        """Count one block."""
        self.count(kept, Counter(problem.code for problem in problems))
        # Without the lines themselves: a thousand of them may be large.
        self.problems += [problem._replace(raw=b"") for problem in problems[: MAX_PROBLEMS - len(self.problems)]]

    def count(self, kept: int, by_code: Mapping[str, int]) -> None:
        """Count stories, and bad lines by their problems' codes."""
        rejected = sum(by_code.values())
        self.read += kept + rejected
        self.kept += kept
        self.rejected += rejected
        self.by_code.update(by_code)

    def close(self, files: Iterable[str], *, strict: bool) -> None:
        """Raise an error where there was no story at all or, if strict, a bad line; what was refused is none.

        Raises:
            StoriesError: carries this report.
        """
        if not self.kept and not self.problems:
            self.problems.append(
                Problem(", ".join(files), 0, 0, "no-stories", "holds no stories: there are only blank lines")
            )
        bad = self.rejected - sum(self.by_code[code] for code in REFUSALS)
        if not self.kept or (bad and strict):
            raise StoriesError(self)

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, ready for JSON.

        >>> list(Report().as_dict())
        ['read', 'kept', 'rejected', 'by_code', 'problems']
        """
        problems = [problem.as_dict() for problem in self.problems]
        return {**vars(self), "by_code": dict(self.by_code), "problems": problems}


class Result(NamedTuple):
    """One block's stories, the lines on which they stand, and the problems of its bad lines."""

    stories: pa.RecordBatch
    lines: Sequence[int]
    problems: list[Problem]


def read_stories(
    sources: str | Iterable[str],
    *,
    keys: Keys = STORIES,
    encoding: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    extras: bool = True,
    progress: Callable[[int], object] | None = None,
    report: Report | None = None,
    on_problem: Callable[[Problem], object] | None = None,
    refuse: Refuse | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Generator[pa.RecordBatch, None, None]:
    r"""Read JSON Lines as Arrow batches of stories, in the order of the files and their lines.

    Question, answer and context lose outer white space; nothing else is changed. An absent, null or blank context
    becomes an empty string, as do `id`, `topic` and `experience` that are no strings.

    >>> import json, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "cats.jsonl")
    >>> _ = file.write_text('{"question": "なぜ鳴くの？", "answer": " 朝だからです。"}\n', "utf-8")
    >>> [story] = pa.Table.from_batches(read_stories(str(file))).to_pylist()
    >>> story["question"], story["answer"], story["context"]
    ('なぜ鳴くの？', '朝だからです。', '')
    >>> _ = file.write_text('{"question": "なぜ鳴くの？", "answer": 7}\n', "utf-8")
    >>> next(read_stories(str(file)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    cats_alpaca.errors.StoriesError: ...: 'answer' must be a string, got 7 [wrong-type]

    Args:
        sources: one or several paths, patterns or URLs; `-` is standard input. gzip, bzip2, xz and zstd are recognized.
        keys: what the question, the answer and the context are called.
        encoding: of files without a byte-order mark; None is UTF-8.
        max_line_bytes: a longer line is a problem.
        extras: whether to read `id`, `topic` and `experience`, too; without them, these columns are empty.
        progress: is called with the number of bytes that were read since the last call, before decompression.
        report: is filled while reading.
        on_problem: is called with every bad line's problem; the line is left out and reading goes on. Without it, bad
            lines raise an error when everything has been read.
        refuse: says which stories of a batch are left out, by their row, a code that is in `REFUSALS`, and a reason;
            they count as rejected, but raise no error.
        block_bytes: how many bytes are parsed at a time; the result does not depend on it.

    Raises:
        SourceError: when a source cannot be opened or read.
        StoriesError: at the end, when there were bad lines and no `on_problem`, or when there is no story at all.
    """
    report = Report() if report is None else report
    if len(set(keys)) < len(keys):
        raise ValueError(f"question, answer and context must be three different keys, got {', '.join(keys)}")
    files = find_files(sources)
    read = partial(
        read_blocks, encoding=encoding, max_line_bytes=max_line_bytes, block_bytes=block_bytes, progress=progress
    )
    blocks = (block for file in files for block in read(file))
    with closing(
        _in_background(read_block(block, keys, max_line_bytes, extras, refuse) for block in blocks)
    ) as results:
        for result in results:
            report.add(result.stories.num_rows, result.problems)
            if on_problem:
                for problem in result.problems:
                    on_problem(problem)
            if result.stories.num_rows:
                yield result.stories
    report.close(files, strict=on_problem is None)


def _in_background(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """Iterate in a thread, a few items ahead: Arrow lets go of the interpreter, so that reading and writing overlap.

    The thread is a daemon, for it may wait for standard input when the user presses Ctrl-C.
    """
    queue: Queue[_Item | BaseException | None] = Queue(_AHEAD)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    return
            queue.put(None)
        except BaseException as error:  # whatever it is, the one who waits must hear of it
            queue.put(error)

    thread = threading.Thread(target=work, name="read_stories", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        with suppress(Empty):
            while True:
                queue.get_nowait()  # so that the thread, if it waits for a free place, sees that it may stop
        thread.join(timeout=1)


def read_block(block: Block, keys: Keys, max_line_bytes: int, extras: bool, refuse: Refuse | None = None) -> Result:
    """Read one block: fast where that is certain to be exact, else exactly."""
    result = _read_block(block, keys, max_line_bytes, extras)
    refused = {row: what for row, *what in refuse(result.stories)} if refuse else {}
    if not refused:
        return result
    # Without the line itself: who took it back wants it nowhere.
    problems = [Problem(block.file, result.lines[row], 0, code, reason) for row, (code, reason) in refused.items()]
    kept = [row for row in range(result.stories.num_rows) if row not in refused]
    stories = result.stories.take(
        pa.Array.from_buffers(pa.int64(), len(kept), [None, pa.py_buffer(np.array(kept, np.int64))])
    )
    return Result(stories, [result.lines[row] for row in kept], sorted([*result.problems, *problems], key=_line_of))


def _line_of(problem: Problem) -> int:
    return problem.line


def _read_block(block: Block, keys: Keys, max_line_bytes: int, extras: bool) -> Result:
    text = None if block.cut or _has_long_line(block, max_line_bytes) else _as_utf8(block)
    stories = _read_fast(block, text, keys, extras) if text else None
    if stories is not None:
        return Result(stories, range(block.line, block.line + stories.num_rows), [])
    lines, records, problems = exact.read_lines(block, keys, max_line_bytes, extras)
    columns = [as_strings([record.get(name, "") for record in records]) for name in SCHEMA.names]
    return Result(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), lines, problems)


def _has_long_line(block: Block, max_line_bytes: int) -> bool:
    return len(block.raw) > max_line_bytes and any(len(raw) > max_line_bytes for _, _, raw in block.lines())


def _as_utf8(block: Block) -> bytes | None:
    """Give the lines in UTF-8, or None where some are not what their encoding says."""
    if block.encoding != "utf-8":
        try:
            return block.raw.decode(block.encoding).encode()
        except UnicodeError:
            return None
    offsets = pa.py_buffer(memoryview(struct.pack("=qq", 0, len(block.raw))))
    try:
        # Arrow checks UTF-8 several times faster than Python decodes it, and without holding the interpreter.
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(block.raw)]).validate(full=True)
    except pa.ArrowInvalid:
        return None
    return block.raw


def _read_fast(block: Block, text: bytes, keys: Keys, extras: bool) -> pa.RecordBatch | None:
    """Read all lines at once; None where that cannot be, or might not be exact."""
    newlines = block.newlines if text is block.raw else find_newlines(text, "utf-8")
    lines = len(newlines) + (not text.endswith(b"\n"))
    names = dict(zip(keys, ("question", "answer", "context"), strict=True))
    names |= {name: name for name in EXTRAS if extras and name not in names}
    # Not for a small file: what it needs of Arrow takes longer to import than it saves.
    columns = read_alike(text, newlines, names) if len(text) > _LARGE else None
    columns = columns or _parse(text, newlines, lines, names)
    if columns is None:
        return None
    columns |= {name: _stripped(columns[name]) for name in ("question", "answer", "context")}
    if any((np.diff(_offsets(columns[name])) == 0).any() for name in ("question", "answer")):
        return None
    empty = pa.repeat(_EMPTY, lines)
    return pa.RecordBatch.from_arrays([columns.get(name, empty) for name in SCHEMA.names], schema=SCHEMA)


def _parse(text: bytes, newlines: np.ndarray, lines: int, names: dict[str, str]) -> dict[str, pa.StringArray] | None:
    """Parse with Arrow; None where that fails or might not mean what RFC 8259, one object a line, means."""
    if not _is_object_a_line(text, newlines):
        return None
    if any(word[:1] in text and word in text for word in (b"NaN", b"Inf")) and _NOT_A_NUMBER.search(text):
        return None
    try:
        table = pa_json.read_json(
            pa.BufferReader(text),
            pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            pa_json.ParseOptions(
                explicit_schema=pa.schema([(key, pa.string()) for key in names]), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != lines:
        return None
    [batch] = table.to_batches()
    columns = {names[key]: batch.column(key) for key in names}
    if columns["question"].null_count or columns["answer"].null_count:
        return None
    return {name: _filled(column) for name, column in columns.items()}


def _is_object_a_line(text: bytes, newlines: np.ndarray) -> bool:
    r"""Say whether no value goes over a line's end, going by the lines' first and last bytes.

    Where every line starts with "{" and ends in "}", none does: JSON has "}" and "{" side by side nowhere but between
    two values. If there are as many values as lines, then, each line is one.

    >>> text = b'{"a": {}}\r\n{"b": 1}\n'
    >>> _is_object_a_line(text, find_newlines(text, "utf-8"))
    True
    """
    if not text.startswith(b"{") or not text.endswith((b"}", b"\n")):
        return False
    content = np.frombuffer(text, np.uint8)
    last = content[newlines - 1]
    last = np.where(last == ord("\r"), content[newlines - 2], last)
    following = content[newlines[newlines < len(text) - 1] + 1]
    return bool((last == ord("}")).all() and (following == ord("{")).all())


def _filled(column: pa.StringArray) -> pa.StringArray:
    """Make nulls empty strings: one that was read from JSON takes no bytes, so it is enough to forget it was null."""
    return (
        pa.StringArray.from_buffers(len(column), *column.buffers()[1:], offset=column.offset)
        if column.null_count
        else column
    )


def _offsets(column: pa.StringArray) -> np.ndarray:
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]


def _stripped(column: pa.StringArray) -> pa.StringArray:
    """Trim what `str.strip` trims; look at the ends first, for hardly any text needs it."""
    if not _has_outer_space(column):
        return column
    import pyarrow.compute as pc  # slow to import, and seldom needed

    return pc.utf8_trim(column, _WHITE_SPACE)


def _has_outer_space(column: pa.StringArray) -> bool:
    """Look at the first and last three bytes of every text: cheaper by far than to trim them all."""
    content = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    offsets = _offsets(column)
    starts, ends = (at[offsets[:-1] < offsets[1:]] for at in (offsets[:-1], offsets[1:]))
    if not len(starts):
        return False
    if (ends - starts).min() < 3:
        return True  # too short to look at; it is rare, and trimming is never wrong
    first, last = (
        np.left_shift(content[at], 16, dtype=np.uint32)
        | np.left_shift(content[at + 1], 8, dtype=np.uint32)
        | content[at + 2]
        for at in (starts, ends - 3)
    )
    # One look-up for characters of one, two and three bytes at both ends: their codes do not overlap.
    codes = np.concatenate((first >> 16, first >> 8, first, last & 0xFF, last & 0xFFFF, last))
    likely = codes[_MAY_BE_SPACE[codes % len(_MAY_BE_SPACE)]]
    return bool(np.isin(likely, _SPACES).any())
