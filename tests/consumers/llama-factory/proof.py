"""Runs the recipe for LLaMA-Factory through its command line's own function, in this process."""

import sys

import hf
import miniature


def train() -> None:
    from llamafactory.train.tuner import run_exp

    # A processor trains in no bfloat16: the one thing that differs from a GPU.
    sys.argv[1:] = ["train.yaml", "bf16=false"]
    run_exp()


if __name__ == "__main__":
    hf.prove(["llamafactory", "peft", "bitsandbytes"], train, end=miniature.TURN)
