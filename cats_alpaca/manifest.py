"""What of a stopped build is finished, and may be kept: a file beside the shards, written after each portion.

A portion is kept when its lines, what is done with them and the code that does it are the same, and its files are as
they were written. Lines and files are known by a hash of their bytes: a file's time and size may lie.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import __version__, path
from .ranges import Portion
from .sharding import Outcome, Shard, Work, digest_of, make_portion
from .writing import whole_file


class Manifest:
    """The finished portions of one build.

    Args:
        folder: where the build's files are.
        work: what it does; notes on other work, or of other code, are forgotten.
    """

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.file = folder, folder / "manifest.json"
        self.head = json.loads(json.dumps({"code": _code(), "work": dataclasses.asdict(work)}))
        self.lock = threading.Lock()
        self.done: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found["done"] if found.get("head") == self.head else {}

    def make_portion(self, number: int, portion: Portion, work: Work, folder: Path, **how: Any) -> Outcome:
        """Do what `sharding.make_portion` does, unless it is done."""
        key = json.dumps([number, dataclasses.asdict(portion)])
        if found := self._finished(key, portion, work, how):
            return found
        self._note(key, None)
        outcome = make_portion(number, portion, work, folder, **how)
        self._note(key, {"outcome": dataclasses.asdict(outcome), "files": dict(self._digests(outcome))})
        return outcome

    def _finished(self, key: str, portion: Portion, work: Work, how: dict[str, Any]) -> Outcome | None:
        if key not in self.done or any(one.file == "-" for one in portion.ranges):
            return None
        fields = self.done[key]["outcome"]
        shards = [Shard(*shard) for shard in fields["shards"]]
        outcome = Outcome(**{**fields, "shards": shards})
        try:
            as_written = dict(self._digests(outcome)) == self.done[key]["files"]
        except FileNotFoundError:
            return None
        same = as_written and digest_of(portion, work, how["on_block"], how["progress"]) == outcome.digest
        return outcome if same else None

    def _digests(self, outcome: Outcome) -> Iterator[tuple[str, str]]:
        for name in filter(None, (*(shard.file for shard in outcome.shards), outcome.problems)):
            yield name, _digest(self.folder / name)

    def _note(self, key: str, entry: dict[str, Any] | None) -> None:
        with self.lock:
            if entry is None and self.done.pop(key, None) is None:
                return
            if entry is not None:
                self.done[key] = entry
            with whole_file(self.file) as stream:
                stream.write(json.dumps({"head": self.head, "done": self.done}).encode())


def _digest(file: Path) -> str:
    """Digest a file, once it is on the disk: what is noted as finished must be there after a power cut, too."""
    import xxhash

    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _code() -> dict[str, str]:
    """Name all that decides which bytes are written."""
    import xxhash

    source = xxhash.xxh3_128()
    for file in sorted(path().glob("*.py")):
        source.update(file.read_bytes())
    return {
        "cats_alpaca": __version__,
        "source": source.hexdigest(),
        "python": sys.version,
        "pyarrow": pa.__version__,
    }
