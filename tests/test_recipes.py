"""The recipes as they are printed, and the comparison that proves them; `tests/consumers/prove.py` runs them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from labels import IGNORED, Row, faults
from support import CHECKOUT, Run, Write

import cats_alpaca
from cats_alpaca import recipes
from cats_alpaca.card import addressed, tokens
from cats_alpaca.recipes import RECIPES, guide

REPO, MODEL, REVISION = "someone/cats", "somebody/model-7b", "v1.2.3"


def test_the_versions_named_are_those_that_the_proofs_pin() -> None:
    for trainer, recipe in RECIPES.items():
        pins = Path(CHECKOUT, "tests/consumers", trainer, "requirements.txt").read_text("utf-8").splitlines()
        package = {"llama-factory": "llamafactory"}.get(trainer, trainer)
        [pin] = [line for line in pins if line.startswith(f"{package}==")]
        assert recipe.tested == ("" if recipe.seen else pin.partition("==")[2])


def rendered(trainer: str) -> str:
    return recipes.render(trainer, REPO, MODEL, REVISION)


@pytest.mark.parametrize("trainer", RECIPES)
def test_the_command_prints_the_recipe_with_everything_filled_in(trainer: str, run: Run) -> None:
    printed = run("recipe", trainer, "--repo", REPO, "--model", MODEL, "--revision", REVISION).stdout
    assert printed == rendered(trainer)
    assert "{{" not in printed
    assert REPO in printed
    assert MODEL in printed


@pytest.mark.parametrize("trainer", RECIPES)
def test_without_a_repository_the_recipe_reads_the_packaged_release(trainer: str, run: Run) -> None:
    printed = run("recipe", trainer).stdout
    assert str(cats_alpaca.path()) in printed
    assert RECIPES[trainer].model in printed
    assert "{{" not in printed


@pytest.mark.parametrize("trainer", sorted(RECIPES.keys() - {"llama-factory"}))
def test_the_revision_is_pinned_or_left_out(trainer: str) -> None:
    assert REVISION in rendered(trainer)
    assert not re.search(r"^ *revision[=:]", recipes.render(trainer, REPO), re.MULTILINE)


def test_where_the_trainer_cannot_pin_a_revision_the_recipe_says_so() -> None:
    assert f'--revision "{REVISION}"' in rendered("llama-factory")
    assert "--revision" not in recipes.render("llama-factory", REPO)


@pytest.mark.parametrize("trainer", RECIPES)
def test_the_recipe_is_well_formed(trainer: str) -> None:
    text = rendered(trainer)
    if RECIPES[trainer].file.endswith(".py"):
        ast.parse(text)
    elif RECIPES[trainer].file.endswith(".sh"):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    else:
        assert REPO in json.dumps(yaml.safe_load(text))


@pytest.mark.parametrize("trainer", RECIPES)
def test_the_recipe_sets_what_the_guide_says(trainer: str) -> None:
    text = rendered(trainer)
    numbers = {guide.RATE: "0.0002", str(guide.LENGTH): "", str(guide.ALPHA): "scale: 2.0", str(guide.RANK): ""}
    for number, other in numbers.items():
        assert number in text or (other and other in text)


@pytest.mark.parametrize("trainer", RECIPES)
def test_without_a_test_split_the_recipe_reads_none(trainer: str, run: Run, write: Write, tmp_path: Path) -> None:
    cats_alpaca.build(write([{"question": f"{n}?", "answer": f"{n}."} for n in range(20)]), out=tmp_path / "out")
    text = run("recipe", trainer, "--repo", str(tmp_path / "out")).stdout
    if trainer == "litgpt":
        subprocess.run(["sh", "-c", without_training(text)], cwd=tmp_path, check=True, env=here())
        rows = [(tmp_path / "rows" / f"{name}.jsonl").read_text().splitlines() for name in ("train", "val")]
        assert [len(part) for part in rows] == [18, 2]
        assert not set(rows[0]) & set(rows[1])
        return
    assert not re.search(r"""["']test|: test\b|eval_|do_eval|_test:""", text)
    if RECIPES[trainer].file.endswith(".py"):
        ast.parse(text)
    elif trainer == "mlx-lm":
        assert yaml.safe_load(text)["hf_dataset"]["valid_split"] == "train[-10%:]"
    else:
        assert yaml.safe_load(text)


def without_training(script: str) -> str:
    return script.replace("litgpt ", ": ")


def here() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = "a'b\"; touch owned; $(touch owned)"
    for trainer, recipe in RECIPES.items():
        text = recipes.render(trainer, hostile, hostile)
        if recipe.file.endswith(".py"):
            assert hostile in {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        elif recipe.file.endswith(".yaml"):
            assert hostile in yaml.safe_dump(yaml.safe_load(text), width=1000).replace("''", "'")
    script = recipes.render("litgpt", hostile, hostile).replace("python -", ": -").replace("litgpt ", ": ")
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    assert not (tmp_path / "owned").exists()


def test_the_list_names_every_trainer_with_its_config(run: Run) -> None:
    lines = run("recipe", "--list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, recipe.config] for name, recipe in RECIPES.items()]


def test_wrong_usage_exits_with_2(run: Run) -> None:
    assert run("recipe").returncode == 2
    assert run("recipe", "abacus").returncode == 2
    assert run("recipe", "trl", "--revision", "v1").returncode == 2
    assert run("recipe", "trl", "--repo", str(cats_alpaca.path()), "--revision", "v1").returncode == 2


def test_the_packaged_card_holds_every_recipe_as_it_is_printed() -> None:
    card = (cats_alpaca.path() / "README.md").read_text("utf-8")
    for trainer in RECIPES:
        assert f"\n{recipes.render(trainer, 'cats_alpaca')}```\n" in card
    assert "105 steps on 557 rows" in card


def test_a_published_card_holds_every_recipe_with_its_name_and_revision() -> None:
    card = addressed((cats_alpaca.path() / "README.md").read_text("utf-8"), REPO, REVISION)
    for trainer in RECIPES:
        assert f"\n{recipes.render(trainer, REPO, revision=REVISION)}```\n" in card


@pytest.mark.skipif(not tokens.available(), reason="splintr-rs is not installed")
def test_recipes_in_a_card_cut_no_row_that_was_measured(run: Run, write: Write, tmp_path: Path) -> None:
    story = {"question": "なぜ鳴くの？", "answer": "お腹がすくからです。" * 400}
    cats_alpaca.build(write([story]), out=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    for text in (card, addressed(card, REPO, REVISION)):
        lengths = re.findall(r"(?:_length|_seq_len|sequence_len|cutoff_len)(?:=|: | )(\d+)", text)
        assert (len(lengths), len(set(lengths))) == (len(RECIPES) + 1, 1)  # one of them names it twice
        assert int(lengths[0]) >= 4096
        assert f"length, in tokens: {int(lengths[0]):,}**" in text
    for trainer in RECIPES:
        assert lengths[0] in run("recipe", trainer, "--repo", str(tmp_path / "out")).stdout


def test_the_guide_takes_its_numbers_from_its_arguments() -> None:
    text = guide.render(1601, {"Llama 3": (400, 600, 900)})
    assert "303 steps on 1,601 rows" in text
    assert "length, in tokens: 1,024**" in text
    assert "test split" in text
    assert "test split" not in guide.render(1601, {}, test=False)


def test_mlx_counts_the_rows_of_any_release() -> None:
    settings = yaml.safe_load(recipes.render("mlx-lm", REPO, rows=20))
    assert (settings["iters"], settings["steps_per_eval"]) == (60, 20)


def test_mlx_goes_through_the_packaged_rows_as_often_as_the_others() -> None:
    rows = len((cats_alpaca.path() / "stories" / "cats_stories_train.jsonl").read_text("utf-8").splitlines())
    settings = yaml.safe_load(rendered("mlx-lm"))
    assert settings["iters"] == guide.EPOCHS * rows
    assert settings["steps_per_eval"] == settings["save_every"] == rows


def test_every_recipe_has_a_proof_with_pinned_versions() -> None:
    for trainer in RECIPES:
        folder = CHECKOUT / "tests" / "consumers" / trainer
        assert (folder / "proof.py").is_file()
        pins = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
        assert all("==" in pin for pin in pins)
        assert pins[0].startswith("torch==")


def test_llama_factory_finds_the_rows_by_the_release_s_own_file(tmp_path: Path) -> None:
    import datasets

    folder = cats_alpaca.path()
    for name, entry in json.loads((folder / "dataset_info.json").read_text("utf-8")).items():
        # Exactly what its loader does with a "script_url".
        source = os.path.join(str(folder), entry["script_url"])
        rows = datasets.load_dataset(source, name=entry["subset"], split=entry["split"], cache_dir=str(tmp_path))
        assert rows.column_names == ["instruction", "input", "output"], name
        assert name.endswith("_test") == (entry["split"] == "test")


BEGIN = 0x10FFFF
STORIES = [
    {"id": "neko-1", "question": "なぜ鳴くの？", "context": "朝だけ鳴く。", "answer": "お腹がすくからです。"},
    {"id": "neko-2", "question": "なぜ寝るの？", "context": "", "answer": "猫だからです。"},
]


def row(prompt: str, trained: str, behind: str = "") -> Row:
    ids = (BEGIN, *map(ord, prompt + trained + behind))
    start = 1 + len(prompt)
    return Row(ids, (IGNORED,) * start + ids[start : start + len(trained)] + (IGNORED,) * len(behind))


def decode(ids: object) -> str:
    return "".join(map(chr, ids))  # type: ignore[call-overload]


GOOD = [row("朝だけ鳴く。なぜ鳴くの？", "お腹がすくからです。■"), row("なぜ寝るの？", "猫だからです。■", "□□")]


def named(rows: list[Row]) -> list[str]:
    return faults(rows, STORIES, decode, BEGIN, "", "■")


def test_rows_that_equal_the_stories_have_no_fault() -> None:
    assert named(GOOD) == named(GOOD[::-1]) == []


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (GOOD[:1], "neko-2: trained 0 times"),
        ([*GOOD, GOOD[0]], "neko-1: trained 2 times"),
        ([row("朝だけ鳴く。なぜ鳴くの？", "お腹がすくからです。"), GOOD[1]], "trained on what no story says"),
        ([row("朝だけ鳴く。なぜ鳴くの？お", "腹がすくからです。■"), GOOD[1]], "trained on what no story says"),
        ([row("朝だけ鳴く。なぜ鳴く", "の？お腹がすくからです。■"), GOOD[1]], "trained on what no story says"),
        ([row("なぜ鳴くの？", "お腹がすくからです。■"), GOOD[1]], "the prompt holds the context 0 times"),
        ([GOOD[0], row("なぜ寝るの？なぜ寝るの？", "猫だからです。■")], "the prompt holds the question 2 times"),
        ([GOOD[0], row("なぜ寝るの？None", "猫だからです。■")], "the prompt says None"),
        ([GOOD[0], row("なぜ寝るの？猫だからです。", "猫だからです。■")], "the prompt holds the answer"),
        ([GOOD[0], row(chr(BEGIN) + "なぜ寝るの？", "猫だからです。■")], "2 begin tokens"),
        ([GOOD[0], row("### Response:### Response:なぜ寝るの？", "猫だからです。■")], "a template in a template"),
        ([row("なぜ寝るの？", "お腹がすくからです。■"), row("なぜ鳴くの？", "猫だからです。■")], "question 0 times"),
        ([GOOD[0], Row(GOOD[1].ids, (IGNORED,) * len(GOOD[1].ids))], "trained on what no story says: ''"),
        ([GOOD[0], Row((1,) * len(GOOD[1].ids), GOOD[1].labels)], "the labels are not the tokens"),
    ],
)  # fmt: skip
def test_a_row_that_differs_is_named(rows: list[Row], fault: str) -> None:
    assert any(fault in found for found in named(rows))
