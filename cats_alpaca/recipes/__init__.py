"""Recipes: for each trainer one file that runs as it stands, with the release and the model filled in.

The files lie beside this module. `tests/consumers` runs exactly what `render` gives, and compares every row that the
trainer would learn from with the stories.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

MODEL = "tokyotech-llm/Llama-3.1-Swallow-8B-v0.2"
"""An example: a base of 8 billion parameters that was trained further on Japanese; Llama 3.1 to every trainer."""


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
        masking: how it comes that only the answer is trained.
        end: who adds the end token.
        model: an example of a model that it takes.
    """

    title: str
    file: str
    config: str
    install: str
    run: str
    masking: str
    end: str
    model: str = MODEL


RECIPES = {
    "trl": Recipe(
        "TRL",
        "trl.py",
        "prompt_completion",
        "trl peft bitsandbytes",
        "python train.py",
        "a prompt beside a completion is masked by default (completion_only_loss)",
        "SFTTrainer adds the tokenizer's",
    ),
}
"""Every trainer, by the name that the command takes."""


def render(trainer: str, repo: str, model: str | None = None, revision: str | None = None) -> str:
    """Give one recipe, ready to run.

    >>> "python train.py" in render("trl", "someone/cats", revision="v1.0.0")
    True

    Args:
        trainer: a key of `RECIPES`.
        repo: the dataset: the name of a Hub repository, or a folder.
        model: the name of a model, or a folder; None is the recipe's example.
        revision: a branch, tag or commit of the repository; None leaves it open.
    """
    recipe = RECIPES[trainer]
    quote = shlex.quote if recipe.file.endswith(".sh") else json.dumps
    text = (Path(__file__).parent / recipe.file).read_text("utf-8")
    for name, value in {"repo": repo, "model": model or recipe.model, "revision": revision}.items():
        text = _fill(text, f'"{{{{{name}}}}}"', value and quote(value))
    return _header(recipe) + text


def _fill(text: str, placeholder: str, value: str | None) -> str:
    r"""Put a value in a placeholder's place; without a value, leave its lines out.

    >>> _fill('a\\nb="{{x}}"\\n', '"{{x}}"', "1"), _fill('a\\nb="{{x}}"\\n', '"{{x}}"', None)
    ('a\\nb=1\\n', 'a\\n')
    """
    if value:
        return text.replace(placeholder, value)
    return "".join(line for line in text.splitlines(keepends=True) if placeholder not in line)


def _header(recipe: Recipe) -> str:
    lines = {
        recipe.title: f'config "{recipe.config}" of the dataset',
        "Install": f"pip install {recipe.install}",
        "Run": recipe.run,
        "Masking": recipe.masking,
        "End token": recipe.end,
    }
    return "".join(f"# {name}: {value}\n" for name, value in lines.items())
