"""The command line as a newcomer meets it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support import CHECKOUT, Run, Write

import cats_alpaca
from cats_alpaca.cli import main

README = (CHECKOUT / "README.md").read_text("utf-8")


def find_commands(group: click.Group, *path: str) -> dict[str, click.Command]:
    """Give every command by its words, those of nested groups and the groups themselves too."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[" ".join((*path, name))] = command
        if isinstance(command, click.Group):
            found |= find_commands(command, *path, name)
    return found


COMMANDS = find_commands(main)


def modules_after(code: str) -> set[str]:
    show = f"{code}\nimport sys; print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


HEAVY = {"datasets", "pyarrow", "huggingface_hub", "numpy", "fsspec", "yaml", "jinja2", "matplotlib", "splintr"}


@pytest.mark.parametrize(
    "code", ["import cats_alpaca", "import cats_alpaca.cli", "import cats_alpaca; cats_alpaca.path()"]
)
def test_import_is_cheap(code: str) -> None:
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["path"], *([*command.split(), "--help"] for command in COMMANDS)])
def test_help_and_path_are_cheap(arguments: list[str]) -> None:
    code = f"import cats_alpaca.cli\ntry: cats_alpaca.cli.main({arguments})\nexcept SystemExit: pass"
    assert not modules_after(code) & HEAVY


def test_a_conversion_draws_no_pictures(write: Write, tmp_path: Path) -> None:
    source = write([{"question": "a", "answer": "b"}])
    arguments = ["convert", source, str(tmp_path / "cats.parquet")]
    code = f"import cats_alpaca.cli\ntry: cats_alpaca.cli.main({arguments})\nexcept SystemExit: pass"
    assert not modules_after(code) & {"datasets", "huggingface_hub", "yaml", "jinja2", "matplotlib", "splintr"}
    assert (tmp_path / "cats.parquet").exists()


def test_every_public_name_is_there() -> None:
    assert all(getattr(cats_alpaca, name) for name in cats_alpaca.__all__)
    assert set(cats_alpaca.__all__) <= set(dir(cats_alpaca))
    with pytest.raises(AttributeError, match="no attribute 'dogs'"):
        cats_alpaca.dogs  # noqa: B018


def test_path_prints_the_folder_of_the_release(run: Run) -> None:
    assert run("path").stdout == f"{cats_alpaca.path()}\n"


def test_wrong_usage_exits_with_2(run: Run) -> None:
    assert run("meow").returncode == 2
    assert run("build", "--test", "x").returncode == 2
    assert run("build", "--train", "x", "--test-fraction", "1").returncode == 2


def test_the_script_beside_the_package_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "cats_alpaca.py", "path"], cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{CHECKOUT / 'cats_alpaca'}\n")


# The page's example serves until it is stopped: tests/test_page_attacks.py runs it.
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"feedback serve"}))
def test_the_example_that_ends_every_help_runs(command: str, tmp_path: Path) -> None:
    epilog = COMMANDS[command].epilog or ""
    example = epilog.removeprefix("Example: ")
    assert example != epilog
    stories = CHECKOUT / "cats_alpaca" / "stories" / "cats_stories_test.jsonl"
    (tmp_path / "cats.jsonl").write_bytes(stories.read_bytes())
    shims = tmp_path / "bin"
    shims.mkdir()
    for name, code in (("cats-alpaca", "-m cats_alpaca"), ("python", "")):
        (shims / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {code} "$@"\n')
        (shims / name).chmod(0o755)
    environment = {"PATH": f"{shims}:/usr/bin:/bin", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(example, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_in_the_readme_exists_and_takes_its_options() -> None:
    found = re.findall(r"cats-alpaca ([a-z][^`#&|;>\n]*)", README)
    named = set()
    for line in found:
        name, *arguments = shlex.split(line)
        while isinstance(COMMANDS[name], click.Group) and arguments:
            name = f"{name} {arguments.pop(0)}"
        COMMANDS[name].make_context(name, arguments, resilient_parsing=False)
        named.add(name)
    assert named >= {name for name, command in COMMANDS.items() if not isinstance(command, click.Group)}


def test_the_readme_names_every_config() -> None:
    from cats_alpaca.formats import SCHEMAS

    for config, schema in SCHEMAS.items():
        columns = ", ".join(f"`{name}`" for name in schema.names)
        assert re.search(rf"^\| `{config}`.* \| {columns} \|", README, re.MULTILINE)


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"cats-alpaca, version {cats_alpaca.__version__}\n"
    assert isinstance(main, click.Group)
