"""What is shipped: the wheel's content, and a load from it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import CHECKOUT


def committed(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", folder],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(CHECKOUT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = out.glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_made_of_the_sdist_holds_exactly_the_committed_package(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == committed("cats_alpaca")
    assert {"cats_alpaca/README.md", "cats_alpaca/data/alpaca/train-00000-of-00001.parquet"} <= names


@pytest.mark.slow
def test_the_wheel_carries_both_licences(wheel: Path) -> None:
    names = [name.partition("/licenses/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/licenses/" in name]
    assert sorted(names) == ["LICENSE", "cats_alpaca/stories/LICENSE"]


@pytest.mark.slow
def test_the_unpacked_wheel_loads_by_its_path(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import datasets, sys; print(datasets.load_dataset(sys.argv[1], split='test').num_rows)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site" / "cats_alpaca")],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    stories = CHECKOUT / "cats_alpaca" / "stories" / "cats_stories_test.jsonl"
    assert done.stdout == f"{len(stories.read_text('utf-8').splitlines())}\n", done.stderr


def test_no_builder_script_lies_in_the_package() -> None:
    # datasets 4 and newer refuse a folder X that holds X.py.
    assert not (CHECKOUT / "cats_alpaca" / "cats_alpaca.py").exists()
