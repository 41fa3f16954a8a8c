"""The YAML on top of a card, which `datasets` since 2.14 and the Hub read."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from ..formats import DEFAULT_CONFIG, FEEDBACK_CONFIGS, SCHEMAS
from .facts import SplitFacts
from .fields import BY_PEOPLE, CREATORS, ON_TOP, ONE_LINE, TAGS, Fields

_TASKS = ["text-generation", "question-answering"]


def header(facts: dict[str, dict[str, SplitFacts]], fields: Fields) -> str:
    """Write the YAML: what is known of the rows, and what the fields say."""
    from huggingface_hub import DatasetCardData

    if facts.keys() & FEEDBACK_CONFIGS.keys():
        people = {name: list(dict.fromkeys([*fields[name], BY_PEOPLE])) for name in CREATORS if fields[name]}
        fields = {**fields, **people}
    rows = sum(split.rows for split in facts[DEFAULT_CONFIG].values())
    known: dict[str, Any] = {
        **{name: fields[name] for name in (*ONE_LINE[1:], *ON_TOP) if fields[name]},
        "pretty_name": fields["title"],
        "task_categories": fields["task_categories"] or _TASKS,
        "size_categories": [_size_category(rows)],
        "tags": list(dict.fromkeys([*TAGS, *(fields["tags"] or [])])),
        "configs": [_config(name, splits) for name, splits in facts.items()],
        "dataset_info": [_info(name, splits) for name, splits in facts.items()],
    }
    return f"{DatasetCardData(**known).to_yaml()}\n"


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
    return {
        "config_name": name,
        "features": [_feature(field) for field in SCHEMAS[name]],
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
