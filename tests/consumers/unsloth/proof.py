"""Runs the recipe for Unsloth as a script, on its backend for processors, which is meant for tests."""

import os
import runpy

os.environ["UNSLOTH_ALLOW_CPU"] = "1"
import unsloth  # noqa: E402, F401, I001  before transformers, as its makers want it and the recipe does
import hf  # noqa: E402

if __name__ == "__main__":
    hf.prove(["unsloth", "peft", "bitsandbytes"], lambda: runpy.run_path("train.py", run_name="__main__"))
