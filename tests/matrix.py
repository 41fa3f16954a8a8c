"""Loads the dataset in every promised way with one version of `datasets`; run by `.ci/run` for several versions.

It needs the standard library and `datasets` (and `click` where the version can run our own code), so that even
environments of 2023 can. Every load is a new process, as it is for a user: a checkout is copied, its caches are empty,
and the rows must equal what is computed here from the JSONL, by other means.

    python tests/matrix.py            # with the interpreter's own `datasets`

Where `HF_ENDPOINT` names the Hub of `tests/hub.py`, it loads what was published there as `you/cats_alpaca`, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CONFIGS = ("alpaca", "chat", "prompt_completion", "stories")
PROMPT = (
    "Below is an instruction that describes a task{}. Write a response that appropriately completes the request.\n\n"
)
SHOW = """
import hashlib, json
def show(splits):
    rows = {name: list(rows) for name, rows in splits.items()}
    print("ROWS", hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


def rows_of(story: dict[str, str]) -> dict[str, dict[str, object]]:
    question, answer, context = story["question"], story["answer"], story.get("context", "")
    prompt = f"### Instruction:\n{question}\n\n" + (f"### Input:\n{context}\n\n" if context else "") + "### Response:\n"
    paired = ", paired with an input that provides further context" if context else ""
    user = f"{question}\n\n{context}" if context else question
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return {
        "alpaca": {"instruction": question, "input": context, "output": answer},
        "chat": {"messages": messages},
        "prompt_completion": {"prompt": PROMPT.format(paired) + prompt, "completion": answer},
        "stories": {key: story.get(key, "") for key in ("id", "topic", "question", "answer", "context", "experience")},
    }


class Machine:
    """A copy of the checkout and an empty home, in which commands are run as a user runs them."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.elsewhere = folder / "elsewhere"
        self.checkout = folder / "cats-alpaca"
        self.elsewhere.mkdir()
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, check=True
        )
        for name in files.stdout.decode().splitlines():
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, self.checkout / name)

    def python(self, *arguments: str, cwd: Path | None = None, offline: bool = False, hub: bool = False) -> str:
        # The copy's code, wherever we are, but never as the working directory's own module.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "HF_HOME": str(self.home / "hf"),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(self.checkout),
            "PYTHONWARNINGS": "ignore",
        }
        if hub:
            environment.update(HF_ENDPOINT=os.environ["HF_ENDPOINT"], HF_HUB_DISABLE_XET="1")
        done = subprocess.run(
            [sys.executable, *arguments], cwd=cwd or self.checkout, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"FAILED: {arguments}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def load(self, code: str, **options: object) -> str:
        out = self.python("-c", SHOW + code, **options)  # type: ignore[arg-type]
        return next(line for line in out.splitlines() if line.startswith("ROWS "))

    def expected(self, config: str) -> str:
        rows = {}
        for split in ("train", "test"):
            file = self.checkout / "cats_alpaca" / "stories" / f"cats_stories_{split}.jsonl"
            rows[split] = [rows_of(json.loads(line))[config] for line in file.read_text("utf-8").splitlines()]
        return "ROWS " + hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def edit_a_story(self) -> None:
        """Change one character of one answer: the file keeps its length, and the release is built again."""
        file = self.checkout / "cats_alpaca" / "stories" / "cats_stories_train.jsonl"
        text = file.read_text("utf-8")
        at = text.index("。", text.index('"answer"'))
        file.write_text(text[:at] + "！" + text[at + 1 :], "utf-8", newline="\n")


def check(machine: Machine, what: str, got: str, config: str) -> None:
    if got != machine.expected(config):
        raise SystemExit(f"FAILED: {what} gives other rows than the stories of {config}")
    print(f"ok: {what} [{config}]", flush=True)


def load_by_path(machine: Machine, version: tuple[int, ...]) -> None:
    folder = machine.checkout / "cats_alpaca"
    for config in CONFIGS:
        code = f"from datasets import load_dataset; show(load_dataset({str(folder)!r}, {config!r}))"
        check(machine, "by path", machine.load(code, cwd=machine.elsewhere), config)
        code = code.replace("))", ", streaming=True))")
        check(machine, "by path, streaming", machine.load(code, cwd=machine.elsewhere), config)
    code = "from datasets import load_dataset; show(load_dataset('cats_alpaca'))"
    check(machine, "by name in a checkout", machine.load(code), "alpaca")


def load_from_the_hub(machine: Machine, version: tuple[int, ...]) -> None:
    # The client of 2023 reads a field (`lastCommit`) that the Hub's listing has no longer.
    if "HF_ENDPOINT" not in os.environ or version < (2, 21):
        return
    for config in CONFIGS:
        code = f"from datasets import load_dataset; show(load_dataset('you/cats_alpaca', {config!r}))"
        check(machine, "from the Hub", machine.load(code, cwd=machine.elsewhere, hub=True), config)
        code = code.replace("))", ", streaming=True))")
        check(machine, "from the Hub, streaming", machine.load(code, cwd=machine.elsewhere, hub=True), config)


def load_by_our_code(machine: Machine, version: tuple[int, ...]) -> None:
    check(
        machine,
        "by name after import cats_alpaca",
        machine.load("import cats_alpaca\nfrom datasets import load_dataset; show(load_dataset('cats_alpaca'))"),
        "alpaca",
    )
    for config in CONFIGS:
        code = f"import cats_alpaca; show(cats_alpaca.load_dataset({config!r}))"
        check(machine, "cats_alpaca.load_dataset", machine.load(code, cwd=machine.elsewhere), config)
        code = code.replace("))", ", streaming=True))")
        check(machine, "cats_alpaca.load_dataset, streaming", machine.load(code, cwd=machine.elsewhere), config)
    if version < (4,):
        code = "from datasets import load_dataset; show(load_dataset('cats_alpaca.py', {}trust_remote_code=True))"
        check(machine, "the script", machine.load(code.format("")), "alpaca")
        check(machine, "the script", machine.load(code.format("'chat', ")), "chat")


def load_from_anywhere(machine: Machine, version: tuple[int, ...]) -> None:
    if version < (4,):
        return
    bare = "from datasets import load_dataset; show(load_dataset('cats_alpaca'))"
    chat = "from datasets import load_dataset; show(load_dataset('cats_alpaca', 'chat'))"
    there = {"cwd": machine.elsewhere, "offline": True}
    machine.python("-m", "cats_alpaca", "prepare")
    check(machine, "prepared, by name", machine.load(bare, **there), "alpaca")
    check(machine, "prepared, by name", machine.load(chat, **there), "chat")
    chat_mapped = (
        chat.replace("show(", "rows = (") + "; rows.map(lambda row: {'messages': row['messages'][:1]}); show(rows)"
    )
    check(machine, "prepared, before a map", machine.load(chat_mapped, **there), "chat")
    machine.python("-m", "cats_alpaca", "prepare")
    check(machine, "prepared again after a map, by name", machine.load(bare, **there), "alpaca")
    check(machine, "prepared again after a map, by name", machine.load(chat, **there), "chat")


def main() -> None:
    import datasets

    version = tuple(int(part) for part in datasets.__version__.split(".")[:2])
    print(f"datasets {datasets.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        ways = [load_by_path] + ([load_by_our_code, load_from_anywhere] if version >= (3, 6) else [])
        for way in [load_from_the_hub, *ways]:
            way(machine, version)
        if version >= (3, 6):
            machine.edit_a_story()
            machine.python("-m", "cats_alpaca", "build", "--out", "cats_alpaca")
            print("a story was edited, its length unchanged")
            for way in ways:
                way(machine, version)


if __name__ == "__main__":
    main()
