"""Runs the recipe for Axolotl through its command line's own function, in this process."""

import sys

import hf


def train() -> None:
    from axolotl.cli.train import do_cli

    sys.argv[1:] = []
    # Its kernels for LoRA are written for GPUs; a processor does without.
    do_cli("train.yaml", **dict.fromkeys(("bf16", "lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel"), False))


if __name__ == "__main__":
    hf.prove(["axolotl", "peft", "bitsandbytes"], train)
