"""Stories become one file: `.json`, `.jsonl` or `.parquet`, whole or not at all."""

from __future__ import annotations

import base64
import codecs
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from .errors import StoriesError
from .exact import Problem
from .formats import CONFIGS, DEFAULT_CONFIG
from .ranges import SHARD_BYTES, Portion, most_portions, plan_portions
from .remote import is_url, refuse_place, remove_all, upload
from .sending import fetched, make_and_send
from .sharding import Outcome, Work, make_portion, make_portions, name_shards, processors, tell
from .sources import find_files
from .stories import Report, read_stories
from .writing import ParquetFile, whole_file


def convert(
    sources: str | Iterable[str],
    destination: str | Path,
    *,
    config: str = DEFAULT_CONFIG,
    rejects: str | Path | None = None,
    report: Report | None = None,
    **reading: Any,
) -> Report:
    r"""Convert JSONL of questions and answers to one file of rows.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "cats.jsonl").write_text('{"question": "なぜ鳴く？", "answer": "朝です。"}\n', "utf-8")
    >>> convert(str(folder / "cats.jsonl"), folder / "cats.json").kept
    1
    >>> print((folder / "cats.json").read_text())
    [
        {
            "instruction": "\u306a\u305c\u9cf4\u304f\uff1f",
            "input": "",
            "output": "\u671d\u3067\u3059\u3002"
        }
    ]

    Args:
        sources: one or several paths, patterns or URLs.
        destination: `.json` is an array with four-space indent, ASCII only, no newline at its end, as Python's
            `json.dump(rows, file, indent=4)` writes it; `.jsonl` is one UTF-8 object a line; `.parquet` is zstd.
        config: which rows to make.
        rejects: a JSONL file for the bad lines; without it, a bad line is an error.
        report: is filled while reading.
        **reading: what else `read_stories` takes: `keys`, `encoding`, `max_line_bytes`, `progress`, `on_problem`.

    Returns:
        The report: lines read, kept and rejected.

    Raises:
        StoriesError: when there are bad lines and no `rejects`, or no stories at all; carries the report. The
            destination is untouched then.
        SourceError: when a source cannot be read; the destination is untouched then, too.
        OSError: when the destination cannot be written; an old one stays as it was.
    """
    report = Report() if report is None else report
    schema, to_rows = CONFIGS[config]
    write_rows = writer_for(destination)
    if rejects and os.path.realpath(rejects) == os.path.realpath(destination):
        raise ValueError("rejects and destination must be two files")
    with ExitStack() as stack:
        if rejects:
            reading["on_problem"] = stack.enter_context(rejects_file(rejects))
        stream = stack.enter_context(whole_file(destination))
        # Closed here and now when writing fails: reading threads are not left to the garbage collector.
        stories = stack.enter_context(
            closing(read_stories(sources, extras=config == "stories", report=report, **reading))
        )
        write_rows(map(to_rows, stories), schema, stream)
    return report


def convert_to_folder(
    sources: str | Iterable[str],
    folder: str | Path,
    *,
    config: str = DEFAULT_CONFIG,
    max_shard_size: int = SHARD_BYTES,
    threads: int | None = None,
    report: Report | None = None,
    on_problem: Callable[[Problem], object] | None = None,
    progress: Callable[[int], object] | None = None,
    **reading: Any,
) -> Report:
    r"""Convert JSONL of questions and answers to a folder of Parquet shards, several at a time.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "cats.jsonl").write_text('{"question": "なぜ鳴く？", "answer": "朝です。"}\n', "utf-8")
    >>> convert_to_folder(str(folder / "cats.jsonl"), folder / "rows").kept
    1
    >>> [file.name for file in (folder / "rows").iterdir()]
    ['train-00000-of-00001.parquet']

    Args:
        sources: one or several paths, patterns or URLs.
        folder: a path or a URL; gets `train-NNNNN-of-NNNNN.parquet`, which replace those of an earlier conversion;
            nothing else in it is touched.
        config: which rows to make.
        max_shard_size: how many bytes of JSONL become one shard; doubled until there are fewer than a hundred,
            or one is of 32 GB.
        threads: how many compute at the same time, which changes no byte; None is one a processor.
        report: is filled with what became of the lines.
        on_problem: is called with every bad line's problem, in order; without it, a bad line is an error.
        progress: is called with the number of bytes that were read since the last call, before decompression.
        **reading: what else `read_stories` takes: `keys`, `encoding`, `max_line_bytes`, `block_bytes`.

    Returns:
        The report: lines read, kept and rejected.

    Raises:
        StoriesError: when there are bad lines and no `on_problem`, or no stories at all; the folder is untouched then.
        SourceError: when a source cannot be read; the folder is untouched then, too.
        OSError: when the folder cannot be written.
    """
    if url := str(folder) if is_url(folder) else "":
        refuse_place(url)
    report, files = Report() if report is None else report, find_files(sources)
    portions, shard_bytes = plan_portions(
        [("train", file) for file in files],
        encoding=reading.get("encoding"),
        shard_bytes=max_shard_size,
        most=most_portions(1, 1),
    )
    work = Work((config,), shard_bytes, keep_problems=on_problem is not None, **reading)
    with _folder_behind(url) if url else _folder_inside(Path(folder)) as (inside, far):
        make = partial(_make_behind, far) if far else make_portion
        made = make_portions(portions, work, inside, threads=threads or processors(), progress=progress, make=make)
        with closing(made):
            outcomes = list(tell(portions, made, inside, report, on_problem))
        report.close(files, strict=on_problem is None)
        shards = (shard for outcome in outcomes for shard in outcome.shards)
        named = name_shards(shards, inside, lambda config: inside)
        if url:
            upload(url, {}, {file.name: shard.file for file, shard in named.items()})
            return report
        for stale in Path(folder).glob("train-[0-9]*-of-[0-9]*.parquet"):
            stale.unlink()
        for file in named:
            file.replace(Path(folder) / file.name)
    return report


def _make_behind(url: str, number: int, portion: Portion, work: Work, folder: Path, **how: Any) -> Outcome:
    return fetched(make_and_send(number, portion, work, f"{url}/{number:05d}", **how), folder)


@contextmanager
def _folder_behind(url: str) -> Iterator[tuple[Path, str]]:
    """Do behind a URL what `_folder_inside` does in a folder; give one of this machine, too, for bad lines."""
    far = f"{url.rstrip('/')}/.convert-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder), far
        except BaseException:
            with suppress(Exception):  # what went wrong first is what counts
                remove_all(far)
            raise
        remove_all(far)


@contextmanager
def _folder_inside(folder: Path) -> Iterator[tuple[Path, str]]:
    """Make a hidden folder in a folder; remove it, and the folder if it is new and stayed empty."""
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    inside = Path(tempfile.mkdtemp(prefix=".convert-", dir=folder))
    try:
        yield inside, ""
    finally:
        shutil.rmtree(inside, ignore_errors=True)
        if not was_there and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def rejects_file(path: str | Path) -> Iterator[Callable[[Problem], None]]:
    """Open a JSONL file for bad lines; it is kept even when no story was, for then one wants to know why."""
    failure = None
    with whole_file(path) as stream:
        try:
            yield lambda problem: _write_line(stream, as_reject(problem))
        except StoriesError as error:
            failure = error
    if failure:
        raise failure


def writer_for(destination: str | Path) -> Callable[[Iterable[pa.RecordBatch], pa.Schema, IO[bytes]], None]:
    """Choose how to write by a file's ending.

    >>> writer_for("cats.csv")
    Traceback (most recent call last):
    ValueError: 'cats.csv' must end in .json, .jsonl, .parquet
    """
    ending = Path(destination).suffix
    if ending not in _WRITERS:
        raise ValueError(f"{str(destination)!r} must end in {', '.join(_WRITERS)}")
    return _WRITERS[ending]


def as_reject(problem: Problem) -> dict[str, object]:
    r"""Describe a bad line with its text, or with its bytes in Base64 where they do not decode.

    >>> as_reject(Problem("cats.jsonl", 2, 30, "invalid-encoding", "...", b"\xff", 1))["raw_base64"]
    '/w=='
    """
    found: dict[str, object] = problem.as_dict()
    try:
        # Not final: of a line that is too long only the head is here, which may end inside a character.
        decoder = codecs.getincrementaldecoder(problem.encoding)()
        found["raw"] = decoder.decode(problem.raw, final=problem.code != "line-too-long")
    except UnicodeDecodeError:
        found["raw_base64"] = base64.b64encode(problem.raw).decode()
    if problem.code == "line-too-long":
        found["bytes"] = problem.size
    return found


def _write_line(stream: IO[bytes], row: dict[str, object]) -> None:
    # Half a surrogate pair, as in a file name that is no UTF-8, becomes an escape that JSON has for it.
    stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _write_json(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes]) -> None:
    separator = "[\n"
    for batch in batches:
        stream.write((separator + ",\n".join(_indented(batch))).encode())
        separator = ",\n"
    stream.write(b"\n]")


def _indented(batch: pa.RecordBatch) -> Iterator[str]:
    """Write each row as `json.dumps(rows, indent=4)` does, but not by its slow way where all columns are strings."""
    if any(not pa.types.is_string(field.type) for field in batch.schema):
        yield json.dumps(batch.to_pylist(), indent=4)[2:-2]
        return
    row = ",\n".join(f"        {quoted(name)}: %s" for name in batch.schema.names)
    template = "    {\n" + row + "\n    }"
    for texts in zip(*(map(quoted, column.to_pylist()) for column in batch.columns), strict=True):
        yield template % texts


def _write_jsonl(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes]) -> None:
    for batch in batches:
        for row in batch.to_pylist():
            _write_line(stream, row)


def _write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes]) -> None:
    with ParquetFile(stream, schema, by_content=False) as file:
        for batch in batches:
            file.write(batch)


_WRITERS = {".json": _write_json, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
