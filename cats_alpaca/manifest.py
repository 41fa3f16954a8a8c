"""What of a stopped build is finished, and may be kept: a file beside the shards, written after each portion.

A portion is kept when its lines, what is done with them and the code that does it are the same, and its files are as
they were written. Lines and files are known by a hash of their bytes: a file's time and size may lie. Behind a URL,
files are known by what the file system there says of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import __version__, path
from .ranges import Portion
from .remote import is_url
from .sending import fetched, make_and_send
from .sharding import Outcome, Shard, Work, digest_of, make_portion
from .sources import Block
from .writing import file_system, whole_file

MANIFEST = "manifest.json"

Entry = dict[str, Any]
"""What is noted of a finished portion: its outcome, and the digests of its files."""


class Manifest:
    """The finished portions of one build.

    Args:
        folder: where the build's files are.
        work: what it does; notes on other work, or of other code, are forgotten.
        url: where the files are instead, the manifest beside them; the folder gets the bad lines then.
    """

    def __init__(self, folder: Path, work: Work, url: str = "") -> None:
        self.folder, self.url = folder, url
        self.file = f"{url}/{MANIFEST}" if url else folder / MANIFEST
        self.head = json.loads(json.dumps({"code": code(), "work": dataclasses.asdict(work)}))
        self.lock = threading.Lock()
        self.done: dict[str, Entry] = self._read()

    def _read(self) -> dict[str, Entry]:
        try:
            found = json.loads(_read(self.file))
        except (FileNotFoundError, ValueError):
            return {}
        return found["done"] if found.get("head") == self.head else {}

    def make_portion(self, number: int, portion: Portion, work: Work, folder: Path, **how: Any) -> Outcome:
        """Do what `sharding.make_portion` does, unless it is done."""
        found = self.entry(number, portion)
        if found and kept(found, folder, portion, work, how["on_block"], how["progress"]):
            return fetched(outcome_of(found), folder)
        self.note(number, portion, None)
        if self.url:
            outcome = make_and_send(number, portion, work, f"{self.url}/{number:05d}", **how)
        else:
            outcome = make_portion(number, portion, work, folder, **how)
        self.note(number, portion, entry_of(outcome, folder))
        return fetched(outcome, folder)

    def entry(self, number: int, portion: Portion) -> Entry | None:
        """Give what was noted of a portion; whether it is still so, `kept` tells."""
        return self.done.get(_key(number, portion))

    def note(self, number: int, portion: Portion, entry: Entry | None) -> None:
        """Note that a portion is finished; None takes that back."""
        key = _key(number, portion)
        with self.lock:
            if self.done.get(key) == entry:
                return
            if entry is None:
                del self.done[key]
            else:
                self.done[key] = entry
            with whole_file(self.file) as stream:
                stream.write(json.dumps({"head": self.head, "done": self.done}).encode())


def _read(file: Path | str) -> bytes:
    if isinstance(file, Path):
        return file.read_bytes()
    with file_system(file) as (files, path):
        content: bytes = files.cat_file(path)
        return content


def _key(number: int, portion: Portion) -> str:
    return json.dumps([number, dataclasses.asdict(portion)])


def entry_of(outcome: Outcome, folder: Path) -> Entry:
    """Describe a finished portion and its files in JSON's values."""
    return {"outcome": dataclasses.asdict(outcome), "files": dict(_digests(outcome, folder))}


def outcome_of(entry: Entry) -> Outcome:
    """Give the outcome back that an entry was made of."""
    fields = entry["outcome"]
    return Outcome(**{**fields, "shards": [Shard(*shard) for shard in fields["shards"]]})


def kept(
    entry: Entry,
    folder: Path,
    portion: Portion,
    work: Work,
    on_block: Callable[[Block], object],
    progress: Callable[[int], object] | None,
) -> bool:
    """Say whether an entry's files and the portion's lines are what they were; reads both."""
    if any(one.file == "-" for one in portion.ranges):
        return False
    outcome = outcome_of(entry)
    try:
        as_written = dict(_digests(outcome, folder)) == entry["files"]
    except FileNotFoundError:
        return False
    return as_written and digest_of(portion, work, on_block, progress) == outcome.digest


def _digests(outcome: Outcome, folder: Path) -> Iterator[tuple[str, str]]:
    for name in outcome.files:
        yield name, _checksum(name) if is_url(name) else _digest(folder / name)


def _checksum(url: str) -> str:
    """Give what a file system tells of a file's content: S3 its hash."""
    with file_system(url) as (files, path):
        files.invalidate_cache()  # what it remembers of the place may be of an earlier build
        return str(files.checksum(path))


def _digest(file: Path) -> str:
    """Digest a file, once it is on the disk: what is noted as finished must be there after a power cut, too."""
    import xxhash

    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def code(also: str = "card") -> dict[str, str]:
    """Name all that decides which bytes are written, and what is counted for the card; or what another part finds."""
    import xxhash

    source = xxhash.xxh3_128()
    for file in sorted(file for pattern in ("*.py", f"{also}/*.py") for file in path().glob(pattern)):
        source.update(file.read_bytes())
    return {
        "cats_alpaca": __version__,
        "source": source.hexdigest(),
        "python": sys.version,
        "pyarrow": pa.__version__,
    }
