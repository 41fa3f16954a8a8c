"""How many tokens the rows take: measured with real vocabularies, which splintr-rs brings with it and reads offline."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..remote import each_at
from .facts import Folder, footer_of, parquet, shards
from .numbers import SPLITS, Lengths

TOKENIZERS = {
    "Gemma 3": "gemma3",
    "Qwen 2.5, Qwen 3": "qwen3",
    "Llama 3": "llama3",
    "Mistral NeMo": "mistral_v3",
    "gpt-oss": "gpt_oss",
    "Mistral 7B v0.1": "mistral_v1",
    "Llama 2": "llama2",
}
"""The measured tokenizers: a name that people know, and splintr's."""

SECTIONS = ("length", "tokens", "recipes", "guide")
"""The sections of a card that hold, or follow from, what is measured here."""

SAMPLE = 20_000
ROW_GROUPS = 256
STEP = 128


@dataclass(frozen=True)
class Tokens:
    """What was measured.

    Attributes:
        version: of splintr-rs.
        measured: how many rows; fewer than there are when they are more than `SAMPLE`.
        lengths: by tokenizer, in tokens: prompt and completion, without begin and end token.
    """

    version: str
    measured: int
    lengths: dict[str, Lengths]


def available() -> bool:
    """Say whether splintr-rs is installed (`pip install 'cats_alpaca[tokens]'`)."""
    return importlib.util.find_spec("splintr") is not None


def measure(folder: Folder) -> Tokens:
    """Count the tokens of the rows of a release folder; of many rows, every n-th, and of many row groups, too."""
    lengths = {name: Lengths() for name in TOKENIZERS}
    texts = _texts(folder)
    measured = 0
    while some := list(islice(texts, 1000)):
        measured += len(some)
        for name, vocabulary in TOKENIZERS.items():
            lengths[name].update(len(tokens) for tokens in _tokenizer(vocabulary).encode_batch(some))
    return Tokens(importlib.metadata.version("splintr-rs"), measured, lengths)


def enough(lengths: Lengths) -> int:
    """Give a `max_length` that cuts no row: the longest with a begin and an end token, rounded up to a multiple of 128.

    >>> enough(Lengths([126])), enough(Lengths([127]))
    (128, 256)
    """
    return -(-(max(lengths) + 2) // STEP) * STEP


@lru_cache
def _tokenizer(vocabulary: str) -> Any:
    from splintr import Tokenizer

    return Tokenizer.from_pretrained(vocabulary)


def _texts(folder: Folder) -> Iterator[str]:
    """Read the sample; however large the release, no more than a few GB of it."""
    groups = list(_row_groups(folder))
    chosen = groups[:: -(-len(groups) // ROW_GROUPS)]
    step = -(-sum(rows for *_, rows in chosen) // SAMPLE)
    seen = 0
    for file, group, rows in chosen:
        if some := range(-seen % step, rows, step):
            with parquet(file) as opened:
                yield from _joined(opened.read_row_group(group).take(list(some)))
        seen += rows


def _row_groups(folder: Folder) -> Iterator[tuple[Path | str, int, int]]:
    """List the row groups in order: file, number, rows."""
    files = [file for split in SPLITS for file in shards(folder, "prompt_completion", split)]
    for file, groups in zip(files, each_at(files[0], _rows_of_groups, files), strict=True):
        for group, rows in enumerate(groups):
            yield file, group, rows


def _rows_of_groups(file: Path | str) -> list[int]:
    footer = footer_of(file)
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def _joined(rows: pa.Table) -> list[str]:
    return [prompt + completion for prompt, completion in zip(*rows.to_pydict().values(), strict=True)]
