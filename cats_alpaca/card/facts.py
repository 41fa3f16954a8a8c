"""What the files of a release folder hold, by config and split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..formats import CONFIGS, SCHEMAS


@dataclass(frozen=True)
class SplitFacts:
    """What one split of one config holds, as its files say.

    Attributes:
        rows: the number of rows.
        files: the number of files.
        data_bytes: the columns' size without compression.
        file_bytes: the size of the files.
        digest: SHA-256 of the rows (not of the files: the same rows give the same digest under every library version).
    """

    rows: int
    files: int
    data_bytes: int
    file_bytes: int
    digest: str


def shards(folder: Path, config: str, split: str) -> list[Path]:
    """List one split's files, in order."""
    return sorted((folder / "data" / config).glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))


def read_facts(folder: Path) -> dict[str, dict[str, SplitFacts]]:
    """Read what every config and split of a release folder holds."""
    facts: dict[str, dict[str, SplitFacts]] = {}
    for config in SCHEMAS:
        splits = {split: _facts(shards(folder, config, split)) for split in ("train", "test")}
        if any(splits.values()) or config in CONFIGS:
            facts[config] = {split: found for split, found in splits.items() if found}
    return facts


def _facts(files: list[Path]) -> SplitFacts | None:
    if not files:
        return None
    footers = [pq.read_metadata(file) for file in files]
    return SplitFacts(
        rows=sum(footer.num_rows for footer in footers),
        files=len(files),
        data_bytes=sum(footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups)),
        file_bytes=sum(file.stat().st_size for file in files),
        digest=digest(batch for file in files for batch in _batches(file)),
    )


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Read a little at a time; as Arrow does it by itself, it reads ahead, which takes hundreds of MB."""
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as opened:
        yield from opened.iter_batches(batch_size=4096, use_threads=False)


def digest(batches: Iterator[pa.RecordBatch]) -> str:
    """Digest texts and their lengths by column, so that it does not matter how the rows are cut into batches."""
    columns: dict[str, Any] = {}
    for batch in batches:
        for name, texts in _texts(batch):
            lengths, content = columns.setdefault(name, (hashlib.sha256(), hashlib.sha256()))
            lengths.update(pc.binary_length(texts).to_numpy())
            content.update(_joined(texts))
    whole = hashlib.sha256()
    for name, (lengths, content) in columns.items():
        whole.update(name.encode() + b"\0" + lengths.digest() + content.digest())
    return whole.hexdigest()


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
