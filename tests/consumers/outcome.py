"""What a proof hands back: run in the trainer's environment, read by `prove.py` in ours."""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

from labels import Decode, Row, faults
from miniature import END, stories


def arguments() -> argparse.Namespace:
    """Read where the recipe lies and how many steps to train; go there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    asked = parser.parse_args()
    os.chdir(asked.folder)
    return asked


def write(
    packages: list[str],
    rows: dict[str, list[Row]],
    decode: Decode,
    begin: int,
    losses: list[float],
    moved: list[str],
    base: str,
    end: str = END,
    before: str = "",
) -> None:
    """Compare the rows with the stories, and leave everything that is known in `outcome.json`."""
    wanted = {split: stories(split) for split in ("train", "test")}
    found = {split: faults(rows[split], told, decode, begin, before, end) for split, told in wanted.items()}
    outcome = {
        "version": ", ".join(f"{package} {version(package)}" for package in packages),
        "rows_in": sum(map(len, wanted.values())),
        "rows_trained": sum(map(len, rows.values())),
        "rows_wrong": sum(len({fault.partition(":")[0] for fault in split}) for split in found.values()),
        "faults": [fault for split in found.values() for fault in split],
        "around": f"{before}…{end}",
        "begin": sum(row.ids[0] == begin for split in rows.values() for row in split),
        "tokens": max(len(row.ids) for split in rows.values() for row in split),
        "losses": losses,
        "moved": moved,
        "base": base,
    }
    Path("outcome.json").write_text(json.dumps(outcome, ensure_ascii=False, indent=1), "utf-8")
