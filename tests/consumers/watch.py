"""A callback for everything that trains with the Trainer of transformers: keeps what the model sees, and what moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from labels import Row
from transformers import TrainerCallback, trainer


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reads the trainer's own data loaders, and compares all weights before and after.

    Attributes:
        steps: after so many optimizer steps the training stops.
        rows: the rows of each split as they left the collator.
        losses: the training losses that were logged.
        moved: the names of the weights that changed.
        base: how many weights the model holds in NF4 with double quantization.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rows: dict[str, list[Row]] = {}
        self.losses: list[float] = []
        self.before: dict[str, str] = {}
        self.moved: list[str] = []
        self.base = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """Keep the rows of the train split; log every step."""
        self.base = f"{sum(map(_in_nf4, now['model'].parameters()))} weights in NF4, double"
        self.rows["train"] = list(rows(now["train_dataloader"]))
        args.logging_steps = state.logging_steps = 1

    def on_step_begin(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """Keep the weights' digests; a trainer may have evaluated before."""
        self.before = self.before or digests(now["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """After the wanted steps tell which weights changed, evaluate and stop.

        No evaluation may come between: there bitsandbytes lays its weights out anew for the processor.
        """
        if state.global_step == self.steps:
            self.moved = [name for name, digest in digests(now["model"]).items() if self.before.get(name) != digest]
            control.should_evaluate = control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **now: Any) -> None:
        """Keep the rows of the test split."""
        self.rows.setdefault("test", list(rows(now["eval_dataloader"])))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **now: Any) -> None:
        """Keep the losses."""
        self.losses += [float(logs["loss"])] if "loss" in logs else []


def install(steps: int) -> Watch:
    """Make every Trainer of this process carry the callback."""
    watch = Watch(steps)
    trainer.DEFAULT_CALLBACKS.append(watch)
    return watch


def rows(batches: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Take batches apart, and the padding off."""
    for batch in batches:
        kept = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
        for ids, labels, real in zip(batch["input_ids"], batch["labels"], kept, strict=True):
            yield Row(tuple(ids[real].tolist()), tuple(labels[real].tolist()))


def unpadded(batches: Iterable[dict[str, Any]], tokens: str) -> Iterator[Row]:
    """Take batches without a mask apart: the padding is what follows the last trained token."""
    for batch in batches:
        for ids, labels in zip(batch[tokens].tolist(), batch["labels"].tolist(), strict=True):
            row = Row(tuple(ids), tuple(labels))
            yield Row(row.ids[: row.stop], row.labels[: row.stop])


def digests(model: torch.nn.Module) -> dict[str, str]:
    """Digest every weight as its bytes stand, and what a quantized one needs to be read."""
    return {name: hashlib.sha256(_bytes(weight)).hexdigest() for name, weight in model.state_dict().items()}


def _bytes(weight: torch.Tensor) -> bytes:
    return bytes(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _in_nf4(weight: torch.Tensor) -> bool:
    state = getattr(weight, "quant_state", None)
    return state is not None and state.quant_type == "nf4" and state.nested
