"""Llama 3 in miniature, made on the spot: its special tokens and template, a vocabulary learnt from the stories."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

STORIES = Path(__file__).resolve().parents[2] / "cats_alpaca" / "stories"
NAME = "Llama-3-miniature"  # LitGPT knows by such a name that there is a begin token
BEGIN, END, TURN, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"
SPECIAL = [BEGIN, END, TURN, PAD, "<|start_header_id|>", "<|end_header_id|>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def stories(split: str) -> list[dict[str, str]]:
    """Read the stories as they were written, by no code of ours."""
    lines = (STORIES / f"cats_stories_{split}.jsonl").read_text("utf-8").splitlines()
    return [{"context": "", **json.loads(line)} for line in lines]


def make(folder: Path, template: bool = False, hidden: int = 64) -> Path:
    """Write a tokenizer and a random model; without a template, as a base model comes, and without a pad token."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_learn(), bos_token=BEGIN, eos_token=TURN if template else END, model_max_length=4096
    )
    if template:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    set_seed(7)
    # With the usual range of .02 nothing so small learns.
    LlamaForCausalLM(_shape(tokenizer, hidden)).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("猫").input_ids[0] == tokenizer.bos_token_id
    return folder


def resize(folder: Path, tokens: int) -> Path:
    """Give the model in a folder so many tokens; give its file."""
    model = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(tokens, mean_resizing=False)
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def _learn() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((story[key] for story in stories("train") for key in story), trainer)
    tokenizer.add_special_tokens(SPECIAL)  # behind the others, as in Llama 3: token 0 is a usual one
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, begin)]
    )
    return tokenizer


def _shape(tokenizer: PreTrainedTokenizerFast, hidden: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
