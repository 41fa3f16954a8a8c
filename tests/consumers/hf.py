"""The proof for everything that trains with the Trainer of transformers: only the way to start it differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import miniature
import outcome
import watch
from transformers import AutoTokenizer


def prove(packages: list[str], start: Callable[[], object], end: str = miniature.END) -> None:
    """Start a training with a miniature model, look at what its trainer saw, and write the outcome."""
    asked = outcome.arguments()
    tokenizer = AutoTokenizer.from_pretrained(miniature.make(Path(miniature.NAME)))
    seen = watch.install(asked.steps)
    start()
    outcome.write(
        packages, seen.rows, tokenizer.decode, tokenizer.bos_token_id, seen.losses, seen.moved, seen.base, end
    )
