"""Runs every recipe as `cats-alpaca recipe` prints it, each in its trainer's own environment, and prints what was seen.

    python tests/consumers/prove.py                # all of them
    python tests/consumers/prove.py trl mlx-lm --environments ~/proofs

It needs this package installed, and nothing else. A trainer passes when it learns from every row exactly the story's
answer and the end token, when the loss falls while only LoRA weights move, and when the control fails: the same
recipe with a release whose answers were exchanged.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cats_alpaca.recipes import RECIPES, render_ask

HERE = Path(__file__).resolve().parent
CATS = [sys.executable, "-m", "cats_alpaca"]
STEPS = 15


class ProofError(Exception):
    """A proof did not come to its end."""


def main() -> None:
    """Prove the named recipes, or all; exit with 1 if any fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainers", nargs="*", metavar="TRAINER", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--environments", type=Path, help="keep the environments there, and use those that are there")
    asked = parser.parse_args()
    if unknown := set(asked.trainers) - set(RECIPES):
        parser.error(f"no recipe for {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as scratch:
        seen = [
            prove(trainer, asked.environments or Path(scratch), Path(scratch)) for trainer in asked.trainers or RECIPES
        ]
    print(table(seen))
    sys.exit(any(row["verdict"] != "pass" for row in seen))


def prove(trainer: str, environments: Path, scratch: Path) -> dict[str, str]:
    """Give one row of the table."""
    row = {"trainer": trainer, "config": RECIPES[trainer].config}
    begun = time.monotonic()
    try:
        python = environment(trainer, environments)
        tell(f"{trainer}: environment {time.monotonic() - begun:.0f} s")
        outcome = run(trainer, python, str(packaged()), scratch / trainer / "release", STEPS)
        control = run(trainer, python, str(exchanged(scratch)), scratch / trainer / "control", 1)
        row |= columns(outcome, control)
    except ProofError as error:
        row["verdict"] = str(error)
    tell(f"{trainer}: {row['verdict']}")
    return row


def environment(trainer: str, environments: Path) -> str:
    """Make a trainer's environment, or take it when it was made of the same requirements."""
    folder, wanted = environments.resolve() / f"t-{trainer}", HERE / trainer / "requirements.txt"
    stamp = folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_text() != wanted.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        call([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        # torch with what its build needs, and first: then nothing asks for another build. The rest is all in the list.
        call([*pip, next(line for line in wanted.read_text().splitlines() if line.startswith("torch=="))])
        call([*pip, "--no-deps", "-r", str(wanted)])
        if (HERE / trainer / "prepare.py").is_file():
            call([str(folder / "bin" / "python"), str(HERE / trainer / "prepare.py")])
        shutil.copyfile(wanted, stamp)
    return str(folder / "bin" / "python")


def packaged() -> Path:
    """Ask for the folder of the packaged release as a user does."""
    return Path(call([*CATS, "path"]).strip())


def exchanged(scratch: Path) -> Path:
    """Build a release in which every story has the next one's answer."""
    folder = scratch / "exchanged"
    if not folder.is_dir():
        for split in ("train", "test"):
            lines = (packaged() / "stories" / f"cats_stories_{split}.jsonl").read_text("utf-8").splitlines()
            stories = [json.loads(line) for line in lines]
            answers = [story["answer"] for story in stories]
            with (scratch / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for story, answer in zip(stories, [*answers[1:], answers[0]], strict=True):
                    file.write(json.dumps({**story, "answer": answer}, ensure_ascii=False) + "\n")
        sources = [f"--{split}={scratch / split}.jsonl" for split in ("train", "test")]
        call([*CATS, "build", *sources, f"--out={folder}"])
    return folder


def run(trainer: str, python: str, repo: str, folder: Path, steps: int) -> dict[str, Any]:
    """Print the recipe into a folder, run it there in the trainer's environment, and read what it saw."""
    folder.mkdir(parents=True)
    recipe = call([*CATS, "recipe", trainer, "--repo", repo, "--model", str(folder / "Llama-3-miniature")])
    (folder / f"train{Path(RECIPES[trainer].file).suffix}").write_text(recipe, "utf-8")
    (folder / "ask.py").write_text(render_ask(repo), "utf-8")
    begun = time.monotonic()
    peak = watched([python, str(HERE / trainer / "proof.py"), str(folder), f"--steps={steps}"], python, folder)
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text("utf-8"))
    return outcome | {"seconds": time.monotonic() - begun, "peak": peak}


def watched(command: list[str], python: str, folder: Path) -> int:
    """Run a proof without a network; give its peak memory in MB."""
    environment = {
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),
        "HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
    }
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ProofError(last_words((folder / "log.txt").read_text("utf-8", errors="replace")))
    return usage.ru_maxrss // 1024


def last_words(log: str) -> str:
    """Show a failed run's log on stderr; give its last line."""
    tell(log[-4000:])
    return log.strip().splitlines()[-1] if log.strip() else "it said nothing"


def columns(outcome: dict[str, Any], control: dict[str, Any]) -> dict[str, str]:
    """Turn what was seen into the table's columns."""
    rows, losses, moved = outcome["rows_in"], outcome["losses"], outcome["moved"]
    third = len(losses) // 3
    wrong = {
        "labels": bool(outcome["faults"]) or outcome["rows_trained"] != rows,
        "control": control["rows_wrong"] != rows,
        "loss": not sum(losses[-third:]) < sum(losses[:third]),
        "weights": not moved or any("lora" not in name.lower() for name in moved),
    }
    for fault in outcome["faults"][:5]:
        tell(fault)
    return {
        "version": outcome["version"],
        "rows in": str(rows),
        "rows trained": str(outcome["rows_trained"]),
        "trained": f"`{outcome['around']}`".replace("\n", "\\n"),
        "begin token": {0: "none", rows: "one"}.get(outcome["begin"], "in some rows"),
        "labels equal": "no" if wrong["labels"] else "all",
        "control": f"{control['rows_wrong']} wrong",
        "loss": f"{losses[0]:.2f} → {losses[-1]:.2f}",
        "weights moved": f"{len(moved)} LoRA" if not wrong["weights"] else f"others too: {moved[:3]}",
        "base": outcome["base"],
        "seconds": f"{outcome['seconds']:.0f}",
        "peak MB": str(outcome["peak"]),
        "verdict": "pass" if not any(wrong.values()) else "fail: " + ", ".join(name for name in wrong if wrong[name]),
    }


def table(rows: list[dict[str, str]]) -> str:
    """Lay rows out as Markdown."""
    names = list(dict.fromkeys(["trainer", "version", "config", *(name for row in rows for name in row)]))
    names = [name for name in names if name != "verdict"] + ["verdict"]
    lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def call(command: list[str]) -> str:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProofError(last_words(done.stderr))
    return done.stdout


def tell(text: str) -> None:
    """Say something on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
