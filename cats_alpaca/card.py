"""Facts computed from a release's Parquet files become its dataset card."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from .formats import CONFIGS, DEFAULT_CONFIG

MARK = "<!-- made by cats-alpaca build -->"
"""Stands in every card that we made, and tells such a folder from somebody else's."""

_TEXT = f"""{MARK}

# Cat stories in Alpaca form

Questions and answers in Japanese on how to live with cats, ready for instruction tuning. Many stories carry a context:
this cat's own past, or what other owners lived through. It is the row's `input`.

```python
from datasets import load_dataset

rows = load_dataset("cats_alpaca", "alpaca", split="train")  # or the path of this folder
```

| config | columns | for |
| --- | --- | --- |
| `alpaca` (default) | `instruction`, `input`, `output` | trainers that know Alpaca |
| `chat` | `messages` | trainers with a chat template |
| `prompt_completion` | `prompt`, `completion` | trainers that mask the prompt |
| `stories` | `id`, `topic`, `question`, `answer`, `context`, `experience` | people: filtering, review, withdrawal |

All configs hold the same stories in the same order.

The stories were written for this dataset by a language model. People and cats in them are invented. **No veterinarian
has reviewed them**: do not take them for medical advice.
"""


@dataclass(frozen=True)
class SplitFacts:
    """What one split of one config holds, as its files say.

    Attributes:
        rows: the number of rows.
        data_bytes: the columns' size without compression.
        file_bytes: the size of the files.
        digest: SHA-256 of the rows (not of the files: the same rows give the same digest under every library version).
    """

    rows: int
    data_bytes: int
    file_bytes: int
    digest: str


def shards(folder: Path, config: str, split: str) -> list[Path]:
    """List one split's files, in order."""
    return sorted((folder / "data" / config).glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))


def read_facts(folder: Path) -> dict[str, dict[str, SplitFacts]]:
    """Read what every config and split of a release folder holds."""
    places = [(config, split) for config in CONFIGS for split in ("train", "test")]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing and unpacking need no lock of the interpreter
        found = threads.map(lambda place: _facts(shards(folder, *place)), places)
        facts: dict[str, dict[str, SplitFacts | None]] = {config: {} for config in CONFIGS}
        for (config, split), one in zip(places, found, strict=True):
            facts[config][split] = one
    return {config: {split: found for split, found in splits.items() if found} for config, splits in facts.items()}


def _facts(files: list[Path]) -> SplitFacts | None:
    if not files:
        return None
    footers = [pq.read_metadata(file) for file in files]
    return SplitFacts(
        rows=sum(footer.num_rows for footer in footers),
        data_bytes=sum(footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups)),
        file_bytes=sum(file.stat().st_size for file in files),
        digest=_digest(batch for file in files for batch in _batches(file)),
    )


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Read a little at a time; as Arrow does it by itself, it reads ahead, which takes hundreds of MB."""
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as opened:
        yield from opened.iter_batches(batch_size=4096, use_threads=False)


def _digest(batches: Iterator[pa.RecordBatch]) -> str:
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
            yield name, column


def _joined(texts: pa.Array) -> memoryview:
    offsets, content = texts.buffers()[1:]
    first, last = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset).take(
        [0, len(texts)]
    )
    return memoryview(content or b"")[first.as_py() : last.as_py()]


def render(facts: dict[str, dict[str, SplitFacts]]) -> str:
    """Write the card: YAML that every `datasets` since 2.14 and the Hub understand, and a short text."""
    rows = sum(split.rows for split in facts[DEFAULT_CONFIG].values())
    metadata = {
        "pretty_name": "Cat stories in Alpaca form",
        "language": ["ja"],
        "license": "cc-by-4.0",
        "task_categories": ["text-generation", "question-answering"],
        "size_categories": [_size_category(rows)],
        "tags": ["alpaca", "instruction-tuning", "qlora", "sft", "cats", "japanese", "synthetic"],
        "configs": [_config(name, splits) for name, splits in facts.items()],
        "dataset_info": [_info(name, splits) for name, splits in facts.items()],
    }
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{header}---\n\n{_TEXT}"


def _config(name: str, splits: dict[str, SplitFacts]) -> dict[str, object]:
    digest = hashlib.sha256("".join(f"{split} {facts.digest} " for split, facts in splits.items()).encode()).hexdigest()
    return {
        "config_name": name,
        **({"default": True} if name == DEFAULT_CONFIG else {}),
        # `datasets` caches a local folder by its card, not by its files. Both lines change with the rows: the version
        # is what datasets 2.14 to 2.20 look at, the description what the later ones do.
        "version": f"1.0.{int(digest[:8], 16)}",
        "description": f"rows sha256:{digest}",
        "data_files": [{"split": split, "path": f"data/{name}/{split}-*"} for split in splits],
    }


def _info(name: str, splits: dict[str, SplitFacts]) -> dict[str, object]:
    schema, _ = CONFIGS[name]
    return {
        "config_name": name,
        "features": [_feature(field) for field in schema],
        "splits": [
            {"name": split, "num_bytes": facts.data_bytes, "num_examples": facts.rows}
            for split, facts in splits.items()
        ],
        "download_size": sum(facts.file_bytes for facts in splits.values()),
        "dataset_size": sum(facts.data_bytes for facts in splits.values()),
    }


def _feature(field: pa.Field) -> dict[str, object]:
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": [_feature(inner) for inner in field.type.value_type]}
    return {"name": field.name, "dtype": str(field.type)}


def _size_category(rows: int) -> str:
    """Name the Hub's category for a number of rows.

    >>> [_size_category(rows) for rows in (999, 1000, 99_999, 10**6)]
    ['n<1K', '1K<n<10K', '10K<n<100K', '1M<n<10M']
    """
    limits = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    exponent = len(str(rows)) - 4
    return "n<1K" if exponent < 0 else "n>1T" if exponent > 8 else f"{limits[exponent]}<n<{limits[exponent + 1]}"
