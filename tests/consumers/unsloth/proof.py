"""Runs the recipe for Unsloth as a script. It needs a GPU."""

import runpy

import unsloth  # noqa: F401  # isort: skip  # before transformers, as its makers want it and the recipe does
import hf

if __name__ == "__main__":
    hf.prove(["unsloth", "peft", "bitsandbytes"], lambda: runpy.run_path("train.py", run_name="__main__"))
