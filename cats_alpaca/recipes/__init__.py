"""Recipes: for each trainer one file that runs as it stands, with the release and the model filled in.

The files lie beside this module. `tests/consumers` runs exactly what `render` gives, and compares every row that the
trainer would learn from with the stories.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import guide

MODEL = "tokyotech-llm/Llama-3.1-Swallow-8B-v0.2"
"""An example: a base of 8 billion parameters that was trained further on Japanese; Llama 3.1 to every trainer."""

INSTRUCT = "tokyotech-llm/Llama-3.1-Swallow-8B-Instruct-v0.3"
"""An example where a trainer writes the turns of a chat: a base may never have learned their tokens."""

_ALPACA = "Alpaca's prompt"


@dataclass(frozen=True)
class Recipe:
    """What there is to say about a trainer beside the file.

    Attributes:
        title: the trainer's name as its makers write it.
        file: the name of the recipe's file beside this module.
        config: the config of the dataset that it reads.
        install: what `pip install` needs; the proofs pin the versions.
        run: the command that runs the file, saved as `train` with its suffix: under its trainer's name, Python would
            take it for the trainer.
        masking: what keeps the question and the context from being trained; Markdown, as the next two.
        end: who adds the end token.
        sees: in what form the model sees a question, in training; Markdown.
        tested: the version that `tests/consumers` ran; empty where it could not be run here.
        besides: what is trained beside the answer and its end token; empty where that is nothing.
        model: an example of a model that it takes.
        seen: what is known of it here; empty where `tests/consumers` ran it and compared every row.
    """

    title: str
    file: str
    config: str
    install: str
    run: str
    masking: str
    end: str
    sees: str
    tested: str
    model: str = MODEL
    seen: str = ""
    besides: str = ""


RECIPES = {
    "trl": Recipe(
        "TRL",
        "trl.py",
        "prompt_completion",
        "trl peft bitsandbytes",
        "python train.py",
        "a prompt beside a completion is masked by default (`completion_only_loss`)",
        "`SFTTrainer` adds the tokenizer's",
        _ALPACA,
        "1.16.0",
    ),
    "axolotl": Recipe(
        "Axolotl",
        "axolotl.yaml",
        "alpaca",
        "axolotl",
        "axolotl train train.yaml",
        "`train_on_inputs: false`",
        "the `alpaca` strategy adds the tokenizer's",
        _ALPACA,
        "0.19.0",
    ),
    "llama-factory": Recipe(
        "LLaMA-Factory",
        "llama-factory.yaml",
        "alpaca",
        "llamafactory bitsandbytes",
        "llamafactory-cli train train.yaml",
        "the prompt is masked by default (`train_on_prompt: false`)",
        "the template adds Llama 3's `<|eot_id|>`",
        "Llama 3's turns",
        "0.9.5",
        INSTRUCT,
    ),
    "torchtune": Recipe(
        "torchtune",
        "torchtune.yaml",
        "alpaca",
        "torch torchtune torchao==0.14.1",
        "tune download {model} --output-dir {model} && tune run lora_finetune_single_device --config train.yaml",
        "`train_on_input: false` (the default of `alpaca_dataset` is `true`)",
        "the tokenizer adds Llama 3's `<|eot_id|>`",
        f"{_ALPACA}, within Llama 3's turns",
        "0.6.1",
        "meta-llama/Llama-3.1-8B-Instruct",
        besides="the few tokens that open the answer's turn, the same in every row",
    ),
    "litgpt": Recipe(
        "LitGPT",
        "litgpt.sh",
        "alpaca",
        "'litgpt[extra]' datasets bitsandbytes",
        "sh train.sh",
        "`--data.mask_prompt true` (the default is `false`)",
        "its SFT dataset adds the tokenizer's",
        _ALPACA,
        "0.5.13",
    ),
    "mlx-lm": Recipe(
        "MLX-LM",
        "mlx-lm.yaml",
        "chat",
        "mlx-lm datasets",
        "mlx_lm.convert --hf-path {model} --mlx-path base-4bit -q && mlx_lm.lora --config train.yaml",
        "`mask_prompt: true` (the default is `false`)",
        "the model's chat template adds it, so take a model that has one",
        "the model's own chat template",
        "0.32.2",
        INSTRUCT,
        besides="one padding token behind the end token",
    ),
    "unsloth": Recipe(
        "Unsloth",
        "unsloth.py",
        "prompt_completion",
        "unsloth",
        "python train.py",
        "a prompt beside a completion is masked by default, as in TRL",
        "`SFTTrainer` adds the tokenizer's",
        _ALPACA,
        "",
        seen="not run here, because it refuses to start without a GPU.",
    ),
}
"""Every trainer, by the name that the command takes."""


def render(
    trainer: str,
    repo: str,
    model: str | None = None,
    revision: str | None = None,
    rows: int | None = None,
    test: bool = True,
    length: int = guide.LENGTH,
) -> str:
    """Give one recipe, ready to run.

    >>> "python train.py" in render("trl", "someone/cats", revision="v1.0.0")
    True

    Args:
        trainer: a key of `RECIPES`.
        repo: the dataset: the name of a Hub repository, or a folder.
        model: the name of a model, or a folder; None is the recipe's example.
        revision: a branch, tag or commit of the repository; None leaves it open.
        rows: of the train split, for the trainer that counts steps only; None is the packaged release's number.
        test: whether the dataset has a test split to look at while training.
        length: how many tokens of a row are kept at most.
    """
    recipe = RECIPES[trainer]
    quote = shlex.quote if recipe.file.endswith(".sh") else json.dumps
    text = _read(recipe.file, test)
    for name, value in {"repo": repo, "model": model or recipe.model, "revision": revision}.items():
        text = _fill(text, f'"{{{{{name}}}}}"', value and quote(value))
    rows = rows or _packaged_rows()
    for name, number in {"rows": rows, "steps": guide.EPOCHS * rows, "length": length}.items():
        text = _fill(text, f'"{{{{{name}}}}}"', str(number))
    return _header(recipe, model or recipe.model) + text


def render_ask(repo: str, revision: str | None = None, test: bool = True) -> str:
    """Give the code that asks a model which was trained by the recipe for TRL; arguments as of `render`.

    >>> "max_new_tokens" in render_ask("someone/cats")
    True
    """
    text = _read("ask.py", test)
    for name, value in {"repo": repo, "revision": revision}.items():
        text = _fill(text, f'"{{{{{name}}}}}"', value and json.dumps(value))
    return text


def _read(file: str, test: bool) -> str:
    return _choose((Path(__file__).parent / file).read_text("utf-8"), "test" if test else "no test")


def _choose(text: str, wanted: str) -> str:
    r"""Leave out the lines that are marked, but for another dataset than this one.

    >>> _choose('a\nb  # {{test}}\nc  # {{no test}}why\n', "test"), _choose('a  # {{no test}}why\n', "no test")
    ('a\nb\n', 'a  # why\n')
    """
    marked = re.compile(r"\{\{((?:no )?test)\}\}")
    lines = [line for line in text.splitlines(keepends=True) if not (m := marked.search(line)) or m[1] == wanted]
    return re.sub(r" *# *$", "", marked.sub("", "".join(lines)), flags=re.MULTILINE)


def dataset_info(splits: Sequence[str] = ("train", "test")) -> str:
    """Write LLaMA-Factory's `dataset_info.json`, for `dataset_dir: <folder>`, also a folder downloaded from the Hub.

    >>> sorted(json.loads(dataset_info()))
    ['alpaca', 'alpaca_test']

    Args:
        splits: which splits the release has.
    """
    names = {"train": "alpaca", "test": "alpaca_test"}
    sets = {names[split]: {"script_url": ".", "subset": "alpaca", "split": split} for split in splits}
    return json.dumps(sets, indent=2) + "\n"


def _packaged_rows() -> int:
    stories = Path(__file__).parent.parent / "stories" / "cats_stories_train.jsonl"
    return stories.read_bytes().count(b"\n")


def _fill(text: str, placeholder: str, value: str | None) -> str:
    r"""Put a value in a placeholder's place; without a value, leave its lines out.

    >>> _fill('a\nb="{{x}}"\n', '"{{x}}"', "1"), _fill('a\nb="{{x}}"\n', '"{{x}}"', None)
    ('a\nb=1\n', 'a\n')
    """
    if value:
        return text.replace(placeholder, value)
    return "".join(line for line in text.splitlines(keepends=True) if placeholder not in line)


def _header(recipe: Recipe, model: str) -> str:
    lines = {
        recipe.title: f'config "{recipe.config}" of the dataset',
        "Install": f"pip install {recipe.install}",
        "Run": recipe.run.format(model=shlex.quote(model)),
        "Masking": recipe.masking,
        "End token": recipe.end,
        **({"Trained besides": recipe.besides} if recipe.besides else {}),
        **({"Seen": recipe.seen} if recipe.seen else {}),
    }
    return "".join(f"# {name}: {value}\n" for name, value in lines.items())
