"""What the files of a release folder hold, by config and split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..formats import CONFIGS, SCHEMAS
from ..remote import each_at
from ..writing import file_system

Folder = Path | Mapping[tuple[str, str], Sequence[Path | str]]
"""A release folder; or where its shards lie, by config and split, before they are in it."""


@dataclass(frozen=True)
class SplitFacts:
    """What one split of one config holds, as its files say.

    Attributes:
        rows: the number of rows.
        files: the number of files.
        data_bytes: the columns' size without compression.
        file_bytes: the size of the files.
        digest: SHA-256 of the rows (not of the files: the same rows, cut into files at the same places, give the same
            digest under every library version).
    """

    rows: int
    files: int
    data_bytes: int
    file_bytes: int
    digest: str


@overload
def shards(folder: Path, config: str, split: str) -> list[Path]: ...
@overload
def shards(folder: Folder, config: str, split: str) -> Sequence[Path | str]: ...
def shards(folder: Folder, config: str, split: str) -> Sequence[Path | str]:
    """List one split's files, in order."""
    if not isinstance(folder, Path):
        return folder.get((config, split), ())
    return sorted((folder / "data" / config).glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))


def read_facts(folder: Folder, digests: Mapping[Path | str, str] | None = None) -> dict[str, dict[str, SplitFacts]]:
    """Read what every config and split of a release folder holds.

    Args:
        folder: where the files are.
        digests: of the rows of files that need not be read for it; of these, only the footers are.
    """
    facts: dict[str, dict[str, SplitFacts]] = {}
    for config in SCHEMAS:
        splits = {split: _facts(shards(folder, config, split), digests or {}) for split in ("train", "test")}
        if any(splits.values()) or config in CONFIGS:
            facts[config] = {split: found for split, found in splits.items() if found}
    return facts


def _facts(files: Sequence[Path | str], digests: Mapping[Path | str, str]) -> SplitFacts | None:
    if not files:
        return None
    rows, data_bytes, file_bytes = map(sum, zip(*each_at(files[0], _sizes_of, files), strict=True))
    return SplitFacts(
        rows=rows,
        files=len(files),
        data_bytes=data_bytes,
        file_bytes=file_bytes,
        digest=digest_of_all([digests.get(file) or digest(_batches(file)) for file in files]),
    )


def same_rows(some: Path, other: Path, config: str, split: str) -> bool:
    """Read the files of two folders, to say whether their rows are the same, however they are cut into files."""
    files = (shards(folder, config, split) for folder in (some, other))
    mine, others = (digest(batch for file in every for batch in _batches(file)) for every in files)
    return mine == others


def _batches(file: Path | str) -> Iterator[pa.RecordBatch]:
    with parquet(file) as opened:
        yield from opened.iter_batches(batch_size=4096, use_threads=False)


@contextmanager
def parquet(file: Path | str) -> Iterator[pq.ParquetFile]:
    """Open a shard, to read a little at a time; Arrow by itself would read ahead, which takes hundreds of MB."""
    with (
        _behind(file) if isinstance(file, str) else nullcontext(file) as source,
        pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as opened,
    ):
        yield opened


@contextmanager
def _behind(url: str) -> Iterator[Any]:
    with file_system(url) as (files, path), files.open(path) as stream:
        yield stream


def footer_of(file: Path | str) -> pq.FileMetaData:
    """Read what a shard's end says of it."""
    with parquet(file) as opened:
        return opened.metadata


def _sizes_of(file: Path | str) -> tuple[int, int, int]:
    footer = footer_of(file)
    groups = map(footer.row_group, range(footer.num_row_groups))
    return footer.num_rows, sum(group.total_byte_size for group in groups), size_of(file)


def size_of(file: Path | str) -> int:
    """Give a shard's bytes."""
    if isinstance(file, Path):
        return file.stat().st_size
    with file_system(file) as (files, path):
        return int(files.size(path))


class RowsDigest:
    """Digests texts and their lengths by column, so that it does not matter how the rows are cut into batches."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def add(self, rows: pa.RecordBatch) -> None:
        """Go on with some rows."""
        for name, texts in _texts(rows):
            lengths, content = self.columns.setdefault(name, (hashlib.sha256(), hashlib.sha256()))
            lengths.update(pc.binary_length(texts).to_numpy())
            content.update(_joined(texts))

    def hexdigest(self) -> str:
        """Give what the rows until now come to."""
        whole = hashlib.sha256()
        for name, (lengths, content) in self.columns.items():
            whole.update(name.encode() + b"\0" + lengths.digest() + content.digest())
        return whole.hexdigest()


def digest(batches: Iterable[pa.RecordBatch]) -> str:
    """Digest the rows of one file, or of whatever else is one piece."""
    found = RowsDigest()
    for batch in batches:
        found.add(batch)
    return found.hexdigest()


def digest_of_all(digests: Sequence[str]) -> str:
    """Put the digests of a split's files together; of one file, it is that file's.

    Files are digested where they are written, on many cores or machines: what goes over all rows in turn could not be.

    >>> digest_of_all(["ab"]), len(digest_of_all(["ab", "cd"]))
    ('ab', 64)
    """
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _texts(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_list(column.type):
            struct = column.flatten()
            yield from zip((f"{name}.{field.name}" for field in struct.type), struct.flatten(), strict=True)
        else:
            yield name, column if pa.types.is_string(column.type) else column.cast(pa.string())


def _joined(texts: pa.Array) -> memoryview:
    offsets, content = texts.buffers()[1:]
    first, last = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset).take(
        [0, len(texts)]
    )
    return memoryview(content or b"")[first.as_py() : last.as_py()]
