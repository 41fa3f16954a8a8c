"""Runs the recipe for torchtune with its own LoRA recipe class, in miniature and on a processor."""

from __future__ import annotations

import base64
import json
import runpy
from pathlib import Path

import miniature
import outcome
import torchtune
import watch
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer
from torchtune.models.llama3._tokenizer import LLAMA3_SPECIAL_TOKENS
from transformers import AutoConfig

COLLATE = "torchtune.data.padded_collate_sft"  # the recipe class's own default
HEADER = "<|start_header_id|>assistant<|end_header_id|>\n\n"


def main() -> None:
    asked = outcome.arguments()
    model = miniature.make(Path(miniature.NAME), hidden=256)  # NF4 wants weights of at least 16,384 numbers
    tokens = as_tiktoken(model)
    recipe = start(settings(asked.steps, tokens))
    rows = {
        split: list(watch.unpadded(recipe._setup_data(dataset(split), False, 1, COLLATE), "tokens"))
        for split in ("train", "test")
    }
    before = watch.digests(recipe._model)
    recipe.train()
    after = watch.digests(recipe._model)
    outcome.write(
        ["torchtune", "torchao"],
        rows,
        recipe._tokenizer.tt_model.tt_model.decode,
        recipe._tokenizer.bos_id,
        losses(),
        [name for name in after if after[name] != before[name]],
        f"{sum('NF4' in type(weight).__name__ for weight in recipe._model.parameters())} weights in NF4",
        end=miniature.TURN,
        before=HEADER,
    )


def as_tiktoken(model: Path) -> int:
    """Write the miniature's vocabulary in the form of Llama 3's original tokenizer; give the number of tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    vocabulary = Tokenizer.from_file(str(model / "tokenizer.json")).get_vocab(with_added_tokens=False)
    texts = sorted(set(vocabulary) - set(miniature.SPECIAL), key=vocabulary.__getitem__)
    (model / "original").mkdir()
    with (model / "original" / "tokenizer.model").open("w") as file:
        for rank, text in enumerate(texts):
            file.write(f"{base64.b64encode(bytes(byte_of[char] for char in text)).decode()} {rank}\n")
    special = {name: len(texts) + at for at, name in enumerate(LLAMA3_SPECIAL_TOKENS)}
    added = {"added_tokens": [{"content": name, "id": id_} for name, id_ in special.items()]}
    (model / "special.json").write_text(json.dumps(added))
    return len(texts) + len(special)


def settings(steps: int, tokens: int) -> DictConfig:
    """Read the recipe; make the model as small as ours, and the device a processor."""
    shape = AutoConfig.from_pretrained(miniature.NAME)
    miniature.resize(Path(miniature.NAME), tokens).rename(f"{miniature.NAME}/model-00001-of-00001.safetensors")
    changes = {
        "device": "cpu",
        "dtype": "fp32",
        "tokenizer.special_tokens_path": f"{miniature.NAME}/special.json",
        "checkpointer.checkpoint_files.max_filename": "00001",
        "model._component_": "torchtune.models.llama3_1.lora_llama3_1",
        "model.quantize_base": True,
        "model.vocab_size": tokens,
        "model.num_layers": shape.num_hidden_layers,
        "model.num_heads": shape.num_attention_heads,
        "model.num_kv_heads": shape.num_key_value_heads,
        "model.embed_dim": shape.hidden_size,
        "model.intermediate_dim": shape.intermediate_size,
        "model.max_seq_len": 4096,
        "optimizer.lr": 2e-3,  # so that a few steps show in the loss
        "epochs": 1,
        "max_steps_per_epoch": steps,
    }
    config = OmegaConf.load("train.yaml")
    for name, value in changes.items():
        OmegaConf.update(config, name, value, force_add=True)
    return config


def start(config: DictConfig) -> object:
    """Set up the recipe that `tune run lora_finetune_single_device` runs."""
    file = Path(torchtune.__file__).parents[1] / "recipes" / "lora_finetune_single_device.py"
    recipe = runpy.run_path(str(file))["LoRAFinetuneRecipeSingleDevice"](cfg=config)
    recipe.setup(cfg=config)
    return recipe


def dataset(split: str) -> DictConfig:
    return OmegaConf.merge(OmegaConf.load("train.yaml").dataset, {"split": split})


def losses() -> list[float]:
    [log] = Path("lora/logs").glob("*.txt")
    return [float(line.split("loss:")[1].split()[0]) for line in log.read_text().splitlines() if "loss:" in line]


if __name__ == "__main__":
    main()
