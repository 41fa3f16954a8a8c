"""What to set for QLoRA on this dataset, and why; the numbers are computed, the sources named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RANK, ALPHA, RATE, EPOCHS, BATCH, LENGTH = 16, 32, "2e-4", 3, 16, 2048
"""What every recipe sets, the length where that cuts no row; a test compares."""

_ROOM = 64  # for a chat template's own tokens


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like model that its memory depends on, as its `config.json` gives them.

    Attributes:
        layers: `num_hidden_layers`.
        hidden: `hidden_size`.
        inner: `intermediate_size`.
        keys: `num_key_value_heads` times the size of a head.
        vocabulary: `vocab_size`.
    """

    layers: int
    hidden: int
    inner: int
    keys: int
    vocabulary: int

    @property
    def linear(self) -> list[tuple[int, int]]:
        """List what each linear weight of a layer takes in and gives out: query, key, value, output; then the MLP."""
        hidden, keys, inner = self.hidden, self.keys, self.inner
        return (
            [(hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden)]
            + 2 * [(hidden, inner)]
            + [(inner, hidden)]
        )


SHAPES = {
    "Llama 3.1 8B": Shape(layers=32, hidden=4096, inner=14336, keys=1024, vocabulary=128256),
    "Qwen2.5 7B": Shape(layers=28, hidden=3584, inner=18944, keys=512, vocabulary=152064),
}
"""Two bases of that size."""


def memory(shape: Shape, rank: int = RANK, tokens: int = LENGTH) -> dict[str, float]:
    """Estimate what a QLoRA step on one row needs, in GB (10⁹ bytes), with gradient checkpointing and AdamW.

    >>> parts = memory(SHAPES["Llama 3.1 8B"], rank=16, tokens=2048)
    >>> {name: round(size, 2) for name, size in parts.items()}
    {'base': 3.6, 'embeddings': 2.1, 'LoRA': 0.67, 'activations': 0.82, 'logits': 2.63}

    Args:
        shape: the model's.
        rank: LoRA's, on all linear layers.
        tokens: in the row, the prompt's and the answer's.
    """
    weights = sum(into * out for into, out in shape.linear) * shape.layers
    lora = sum(into + out for into, out in shape.linear) * shape.layers * rank
    sizes = {
        "base": weights * (4 + 0.127) / 8,
        "embeddings": 2 * shape.vocabulary * shape.hidden * 2,
        "LoRA": lora * (4 + 4 + 8),
        "activations": tokens * shape.hidden * (2 * shape.layers + 34),
        "logits": tokens * shape.vocabulary * (2 + 4 + 4),
    }
    return {name: size / 1e9 for name, size in sizes.items()}


def render(rows: int, tokens: Mapping[str, tuple[int, int, int]], test: bool = True) -> str:
    """Write the guide in Markdown.

    >>> "105 steps on 557 rows" in render(557, {})
    True

    Args:
        rows: of the train split.
        tokens: the median, the 95th percentile and the maximum of a row's tokens, by tokenizer; may be empty.
        test: whether there is a test split.
    """
    length = _length(tokens)
    return f"""### QLoRA on one 16 GB GPU, for bases of 7 to 8 billion parameters

Paper: [QLoRA](https://arxiv.org/abs/2305.14314). Values without a source are our own advice.

{_listed(_settings(rows, tokens, test))}

Memory for one row of {length:,} tokens, in GB, computed, not measured:

{_table(length)}

CUDA itself takes about 1 GB more. A GPU older than Ampere (a T4) has no bfloat16: the recipes say what to set there.

<details>
<summary>How the memory is computed</summary>

- base = weights of the linear layers × (4 + 0.127) / 8 bytes (QLoRA, section 3: what double quantization leaves of the
  constants is 0.127 bits a weight)
- embeddings = 2 × vocabulary × hidden × 2 bytes (input and output, not quantized)
- LoRA = rank × Σ(in + out) × 16 bytes (weight, gradient and AdamW's two moments, in float32)
- activations = tokens × hidden × (2 × layers + 34) bytes (with gradient checkpointing: one checkpoint a layer, and one
  layer at work, which takes 34 bytes: [Korthikanti et al.](https://arxiv.org/abs/2205.05198), without its square term)
- logits = tokens × vocabulary × 10 bytes (bfloat16, float32 and the gradient)

</details>
"""


def _settings(rows: int, tokens: Mapping[str, tuple[int, int, int]], test: bool) -> list[list[str]]:
    steps = EPOCHS * -(-rows // BATCH)
    stop = ". Our advice: stop where the test split's loss rises" if test else ""
    return [
        ["base weights", "NF4, double quantization, computed in bfloat16", "QLoRA, section 3"],
        ["target modules", "all linear layers", 'QLoRA, section 4; in PEFT `all-linear`'],
        ["rank", f"{RANK}", "QLoRA, appendix A: with LoRA on all layers the rank hardly matters; the paper took 64"],
        ["alpha", f"{ALPHA}", "torchtune's QLoRA configs: twice the rank; the paper took 16"],
        ["dropout", "0.05", "our advice; the paper took 0.1 up to 13B"],
        ["learning rate", f"{RATE}", "QLoRA, appendix B, for 7B and 13B; constant there, our advice: cosine"],
        ["batch", f"1 row, accumulated {BATCH} times", f"QLoRA, appendix B: {BATCH}; one row at a time saves memory"],
        ["epochs", f"{EPOCHS}", f"Stanford Alpaca; here {steps:,} steps on {rows:,} rows{stop}"],
        ["length, in tokens", f"{_length(tokens):,}", _measured(tokens)],
    ]  # fmt: skip


def _length(tokens: Mapping[str, tuple[int, int, int]]) -> int:
    """Choose the power of two that cuts no row; without a measurement what the recipes set.

    >>> _length({"Llama 3": (400, 600, 861)}), _length({})
    (1024, 2048)
    """
    return 1 << (max(longest for _, _, longest in tokens.values()) + _ROOM - 1).bit_length() if tokens else LENGTH


def recipe_length(tokens: Mapping[str, tuple[int, int, int]]) -> int:
    """Say where the recipes cut a row: never below `LENGTH`, for to no length a row is padded.

    >>> recipe_length({"Llama 3": (400, 600, 861)}), recipe_length({"Llama 3": (900, 2000, 2500)})
    (2048, 4096)
    """
    return max(_length(tokens), LENGTH)


def _measured(tokens: Mapping[str, tuple[int, int, int]]) -> str:
    if not tokens:
        return "the recipes' own; measure yours, and take more than the longest row"
    fits = "cuts no row in any tokenizer of the table above, and the rest leaves room for a chat template"
    set_there = "the recipes set it, as" if _length(tokens) >= LENGTH else f"{LENGTH:,} in the recipes is"
    return f"{fits}; {set_there} a ceiling, to which no row is padded"


def _table(tokens: int) -> str:
    """Give a column to each base: so the sum stays in sight on a telephone."""
    parts = [memory(shape, tokens=tokens) for shape in SHAPES.values()]
    found = [[name, *(f"{sizes[name]:.1f}" for sizes in parts)] for name in parts[0]]
    return _lines(["", *SHAPES], [*found, ["**sum**", *(f"**{sum(sizes.values()):.1f}**" for sizes in parts)]])


def _listed(settings: list[list[str]]) -> str:
    return "\n".join(f"- **{name}: {value}** ({why})" for name, value, why in settings)


def _lines(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
