"""Bytes of JSONL become Arrow batches of stories, or problems that name file, line, byte and reason.

A block of lines goes through `pyarrow.json` first. Where that fails, or where it is known to be more lenient than
RFC 8259 with one object a line, the block is read again line by line: slowly, exactly, and with an explanation.
Nothing here knows of Alpaca.
"""

from __future__ import annotations

import io
import re
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from . import exact, path
from .errors import StoriesError
from .exact import Keys, Problem
from .sources import BLOCK_BYTES, Block, read_blocks

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "topic", "question", "answer", "context", "experience")])
"""A story: what a record's keys become. Never null; an empty string where the record has none."""

PACKAGED = {split: str(path() / "stories" / f"cats_stories_{split}.jsonl") for split in ("train", "test")}
"""The packaged stories, by split."""

MAX_LINE_BYTES = 16 << 20
MAX_PROBLEMS = 1000

STORIES = Keys("question", "answer", "context")
ALPACA = Keys("instruction", "output", "input")

_WORKERS = 2
_WHITE_SPACES = pa.array(filter(str.isspace, map(chr, range(0x3001))), pa.string())
_NOT_A_NUMBER = re.compile(rb"[:,\[][ \t\r]*-?(?:NaN|Inf)")


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
        self.read += kept + len(problems)
        self.kept += kept
        self.rejected += len(problems)
        self.by_code.update(problem.code for problem in problems)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, ready for JSON."""
        return asdict(self)


class Result(NamedTuple):
    """One block's stories, and the problems of its bad lines."""

    stories: pa.RecordBatch
    problems: list[Problem]


def read_stories(
    sources: str | Iterable[str],
    *,
    keys: Keys = STORIES,
    encoding: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    report: Report | None = None,
    on_problem: Callable[[Problem], object] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
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
        sources: one or several paths or URLs.
        keys: what the question, the answer and the context are called.
        encoding: of files without a byte-order mark; None is UTF-8.
        max_line_bytes: a longer line is a problem.
        report: is filled while reading.
        on_problem: is called with every bad line's problem; the line is left out and reading goes on. Without it, bad
            lines raise an error when everything has been read.
        block_bytes: how many bytes are parsed at a time; the result does not depend on it.

    Raises:
        SourceError: when a source cannot be opened or read.
        StoriesError: at the end, when there were bad lines and no `on_problem`, or when there is no story at all.
    """
    report = Report() if report is None else report
    files = [sources] if isinstance(sources, str) else list(sources)
    blocks = (
        block
        for file in files
        for block in read_blocks(file, encoding=encoding, max_line_bytes=max_line_bytes, block_bytes=block_bytes)
    )
    for result in _in_parallel(lambda block: read_block(block, keys, max_line_bytes), blocks):
        report.add(result.stories.num_rows, result.problems)
        if on_problem:
            for problem in result.problems:
                on_problem(problem)
        if result.stories.num_rows:
            yield result.stories
    if not report.kept and not report.problems:
        report.problems.append(
            Problem(", ".join(files), 0, 0, "no-stories", "holds no stories: there are only blank lines")
        )
    if not report.kept or (report.rejected and not on_problem):
        raise StoriesError(report)


def _in_parallel(read: Callable[[Block], Result], blocks: Iterator[Block]) -> Iterator[Result]:
    """Map in order with threads (Arrow lets go of the interpreter), and few blocks in flight: memory is a constant."""
    with ThreadPoolExecutor(_WORKERS, "read_stories") as pool:
        pending: deque[Future[Result]] = deque(pool.submit(read, block) for block in islice(blocks, _WORKERS + 1))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(read, block) for block in islice(blocks, 1))
            yield result


def read_block(block: Block, keys: Keys, max_line_bytes: int) -> Result:
    """Read one block: fast where that is certain to be exact, else exactly."""
    text = None if block.cut or _has_long_line(block, max_line_bytes) else _as_utf8(block)
    stories = _read_fast(text, keys) if text else None
    if stories is not None:
        return Result(stories, [])
    records, problems = exact.read_lines(block, keys, max_line_bytes)
    columns = [pa.array([record.get(name, "") for record in records], pa.string()) for name in SCHEMA.names]
    return Result(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), problems)


def _has_long_line(block: Block, max_line_bytes: int) -> bool:
    return len(block.raw) > max_line_bytes and any(exact.length(raw) > max_line_bytes for _, _, raw in block.lines())


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


def _read_fast(text: bytes, keys: Keys) -> pa.RecordBatch | None:
    """Parse with Arrow; None where that fails or might not mean what RFC 8259, one object a line, means."""
    text = text.strip(b" \t\r\n")
    newlines = text.count(b"\n")
    # Where every line but the last ends in "}" and the next one starts with "{", no value goes over a line's end: JSON
    # has "}" and "{" side by side nowhere but between two values. As many rows as lines is then one object a line.
    borders = text.count(b"}\n{") + (text.count(b"}\r\n{") if b"\r" in text else 0)
    if newlines != borders or not text.startswith(b"{") or _NOT_A_NUMBER.search(text):
        return None
    names = dict(zip(keys, ("question", "answer", "context"), strict=True))
    names |= {name: name for name in SCHEMA.names if name not in names.values() and name not in names}
    try:
        table = pa_json.read_json(
            io.BytesIO(text),
            pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            pa_json.ParseOptions(
                explicit_schema=pa.schema([(key, pa.string()) for key in names]), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None
    columns = {names[key]: table.column(key).combine_chunks() for key in names}
    if table.num_rows != newlines + 1 or columns["question"].null_count or columns["answer"].null_count:
        return None
    columns = {name: _filled(column) for name, column in columns.items()}
    columns |= {name: _stripped(columns[name]) for name in ("question", "answer", "context")}
    if any(pc.min(pc.binary_length(columns[name])).as_py() == 0 for name in ("question", "answer")):
        return None
    empty = pa.array([""] * table.num_rows, pa.string())
    return pa.RecordBatch.from_arrays([columns.get(name, empty) for name in SCHEMA.names], schema=SCHEMA)


def _filled(column: pa.Array) -> pa.Array:
    return column.fill_null("") if column.null_count else column


def _stripped(column: pa.Array) -> pa.Array:
    """Trim what `str.strip` trims; look at the ends first, for hardly any text needs it."""
    ends = (pc.utf8_slice_codeunits(column, 0, 1), pc.utf8_slice_codeunits(column, -1))
    if any(pc.any(pc.is_in(end, _WHITE_SPACES)).as_py() for end in ends):
        return pc.utf8_trim(column, "".join(_WHITE_SPACES.to_pylist()))
    return column
