"""Runs the recipe for MLX-LM through its command line, on MLX's backend for processors."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniature
import mlx.core as mx
import numpy as np
import outcome
from labels import IGNORED, Row
from mlx.utils import tree_flatten
from mlx_lm import lora
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import iterate_batches
from transformers import AutoTokenizer


class Losses(TrainingCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        self.losses.append(train_info["train_loss"])


def main() -> None:
    asked = outcome.arguments()
    model = miniature.make(Path(miniature.NAME), template=True)
    convert = ["mlx_lm.convert", "--hf-path", str(model), "--mlx-path", "base-4bit", "-q"]
    subprocess.run(convert, check=True)
    tokenizer = AutoTokenizer.from_pretrained(model)
    seen = looked_on(asked.steps)
    # MLX-LM's mask reaches one token too far: it also trains the padding token behind the end.
    end = miniature.TURN + tokenizer.decode([0])
    outcome.write(
        ["mlx-lm", "mlx"], seen["rows"], tokenizer.decode, tokenizer.bos_token_id, **seen["training"], end=end
    )


def looked_on(steps: int) -> dict[str, Any]:
    """Run `mlx_lm.lora --config train.yaml`, and keep what its training function gets and leaves."""
    seen: dict[str, Any] = {}
    real, callback = lora.train, Losses()

    def train(model: Any, args: Any, train_dataset: Any, val_dataset: Any, **others: Any) -> None:
        sets = {"train": train_dataset, "test": val_dataset}
        seen["rows"] = {split: list(rows(data, args)) for split, data in sets.items()}
        before = digests(model)
        real(
            model=model,
            args=args,
            train_dataset=train_dataset,
            val_dataset=val_dataset,
            **others | {"training_callback": callback},
        )
        after = digests(model)
        seen["training"] = {
            "losses": callback.losses,
            "moved": [name for name in after if after[name] != before[name]],
            "base": f"{sum(name.endswith('.scales') for name in after)} weights in 4 bits",
        }

    lora.train = train
    sys.argv[1:] = ["--config", "train.yaml", "--iters", str(16 * steps), "--val-batches", "1"]
    lora.main()
    return seen


def rows(dataset: Any, args: Any) -> Iterator[Row]:
    """Read its batches as its loss does: targets are shifted by one, from the offset to the length."""
    for batch, lengths in iterate_batches(dataset, args.batch_size, args.max_seq_length):
        for ids, (start, length) in zip(np.array(batch).tolist(), np.array(lengths).tolist(), strict=True):
            steps = range(1, len(ids))
            labels = [IGNORED, *(ids[step] if start <= step <= length else IGNORED for step in steps)]
            yield Row(tuple(ids[: length + 1]), tuple(labels[: length + 1]))


def digests(model: Any) -> dict[str, str]:
    return {
        name: hashlib.sha256(bytes(memoryview(weight.view(mx.uint8)))).hexdigest()
        for name, weight in tree_flatten(model.parameters())
    }


if __name__ == "__main__":
    main()
