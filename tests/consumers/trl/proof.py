"""Runs the recipe for TRL as a script, and then asks what it trained."""

import runpy

import hf

if __name__ == "__main__":
    hf.prove(["trl", "peft", "bitsandbytes"], lambda: runpy.run_path("train.py", run_name="__main__"))
    runpy.run_path("ask.py", run_name="__main__")
