"""Runs the recipe for TRL, and looks at what its trainer saw."""

import runpy
from pathlib import Path

import miniature
import outcome
import watch
from transformers import AutoTokenizer


def main() -> None:
    asked = outcome.arguments()
    model = miniature.make(Path("model"))
    seen = watch.install(asked.steps)
    runpy.run_path("train.py", run_name="__main__")
    tokenizer = AutoTokenizer.from_pretrained(model)
    outcome.write(
        ["trl", "peft", "bitsandbytes"],
        seen.rows,
        tokenizer.decode,
        tokenizer.bos_token_id,
        seen.losses,
        seen.moved,
        seen.base,
    )


if __name__ == "__main__":
    main()
