"""Portions whose shards go behind a URL as soon as they are made: the disk here holds no more than is being made."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from .ranges import Portion
from .remote import is_url, send
from .sharding import Outcome, Work, make_portion
from .writing import file_system


def make_and_send(number: int, portion: Portion, work: Work, place: str, **how: Any) -> Outcome:
    """Make a portion on this machine's disk, and send its files, each whole or not at all.

    Args:
        number: the portion's.
        portion: its lines.
        work: what to do with them.
        place: the URL of a folder for this portion's files alone.
        **how: what else `make_portion` takes.

    Raises:
        SourceError: when a source cannot be read.
        OSError: when a file cannot be sent.
    """
    with tempfile.TemporaryDirectory() as temporary:
        outcome = make_portion(number, portion, work, Path(temporary), **how)
        for name in outcome.files:
            send(Path(temporary, name), f"{place}/{name}")
    return outcome.within(place)


def fetched(outcome: Outcome, folder: Path) -> Outcome:
    """Get the bad lines that lie behind a URL into a folder, to tell them from there."""
    if not is_url(outcome.problems):
        return outcome
    name = outcome.problems.rpartition("/")[2]
    with file_system(outcome.problems) as (files, path):
        files.get_file(path, str(folder / name))
    return replace(outcome, problems=name)
