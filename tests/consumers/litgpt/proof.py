"""Runs the recipe for LitGPT as a script, with its command line looked on from inside."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import miniature
import outcome
import torch
import watch
from labels import Row
from transformers import AutoTokenizer

SHIM = f"""#!/bin/sh
exec "{sys.executable}" "{Path(__file__).resolve()}" command-line "$@"
"""
# No GPU: bitsandbytes through Lightning needs one, and a processor has little bfloat16.
PROCESSOR = ["--quantize", "null", "--precision", "32-true"]


def main() -> None:
    asked = outcome.arguments()
    tokenizer = checkpoint(miniature.make(Path(miniature.NAME)))
    Path("litgpt").write_text(SHIM)
    Path("litgpt").chmod(0o755)
    short = ["--train.max_steps", str(asked.steps), "--eval.max_iters", "1", "--eval.max_new_tokens", "1"]
    subprocess.run(["sh", "-c", 'PATH="$PWD:$PATH" exec sh train.sh "$@"', "sh", *PROCESSOR, *short], check=True)
    seen = json.loads(Path("seen.json").read_text())
    rows = {split: [Row(*map(tuple, row)) for row in found] for split, found in seen["rows"].items()}
    outcome.write(
        ["litgpt"],
        rows,
        tokenizer.decode,
        tokenizer.bos_token_id,
        losses(),
        seen["moved"],
        "32 bits: NF4 needs a GPU here",
    )


def checkpoint(folder: Path) -> Any:
    """Put a miniature beside the tokenizer in the form that LitGPT keeps models in."""
    from litgpt import GPT, Config
    from litgpt.utils import save_config

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Config.from_name(
        "Llama-3.1-8B", n_layer=2, n_head=4, n_query_groups=2, n_embd=64, intermediate_size=128, block_size=4096,
        padded_vocab_size=len(tokenizer), vocab_size=len(tokenizer), head_size=16,
    )  # fmt: skip
    torch.manual_seed(7)
    model = GPT(config)
    for name, weight in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.08)
    torch.save(model.state_dict(), folder / "lit_model.pth")
    save_config(config, folder)
    return tokenizer


def command_line() -> None:
    """Be `litgpt`, and keep the rows that it trains on and the names of the weights that it changes."""
    from litgpt.__main__ import main as litgpt
    from litgpt.finetune import lora

    real_loaders, real_fit = lora.get_dataloaders, lora.fit
    seen: dict[str, Any] = {}

    def get_dataloaders(*arguments: Any) -> Any:
        loaders = real_loaders(*arguments)
        seen["rows"] = {
            split: list(map(astuple, watch.unpadded(loader, "input_ids")))
            for split, loader in zip(("train", "test"), loaders, strict=True)
        }
        return loaders

    def fit(fabric: Any, model: Any, *arguments: Any, **named: Any) -> Any:
        before = watch.digests(model)
        done = real_fit(fabric, model, *arguments, **named)
        after = watch.digests(model)
        seen["moved"] = [name for name in after if after[name] != before[name]]
        return done

    lora.get_dataloaders, lora.fit = get_dataloaders, fit
    litgpt()
    Path("seen.json").write_text(json.dumps(seen))


def losses() -> list[float]:
    [log] = Path("lora").rglob("metrics.csv")
    return [float(row["loss"]) for row in csv.DictReader(log.open()) if row.get("loss")]


if __name__ == "__main__":
    if sys.argv[1] == "command-line":
        del sys.argv[1]
        command_line()
    else:
        main()
