"""Keeps tests away from the user's caches and token, before anything of Hugging Face is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Run, Write

if TYPE_CHECKING:
    from page_support import Model, Serve

_HOME = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=_HOME.name, HF_TOKEN="", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write records, or bytes as they stand, to a file; give its path."""

    def _write(records: Iterable[object] | bytes, name: str = "cats.jsonl") -> str:
        lines = records if isinstance(records, bytes) else "".join(f"{json.dumps(r)}\n" for r in records).encode()
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lines)
        return str(file)

    return _write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line as a user does, in a folder of its own."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def _run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cats_alpaca", *arguments]
        settings = {"cwd": folder, "capture_output": True, "text": True, "encoding": "utf-8", "timeout": 120}
        return subprocess.run(command, **{**settings, **options})  # type: ignore[call-overload, no-any-return]

    return _run


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Run the page for cat owners with some arguments."""
    from page_support import serving

    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(serving(tmp_path, *arguments))


@pytest.fixture
def chat_model() -> Iterator[Model]:
    """Run a server that speaks chat completions, for the page."""
    from page_support import Model

    model = Model()
    yield model
    model.stop()
