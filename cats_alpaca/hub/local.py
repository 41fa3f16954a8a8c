"""What a release folder must be before any byte of it goes to the Hub."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..card import MARK, SplitFacts, foreign_configs, pictures, read_facts, without
from ..errors import ReleaseError
from ..formats import SCHEMAS

MOST_FILES = 100
"""A release of more files is refused: each costs a request, of us at the push and of everybody at every load."""

_MANAGED = re.compile(
    rf"README\.md|dataset_info\.json|data/({'|'.join(SCHEMAS)})/(train|test)-\d{{5}}-of-\d{{5}}\.parquet|"
    + "|".join(map(re.escape, pictures.NAMES))
)
_PLACEHOLDER = re.compile(r"(?i:\[more information needed\]|lorem ipsum)|\{\{.*?\}\}|\b(TODO|TBD|FIXME)\b")
_QUOTING = ("title", "rows", "recipes", "cite")
"""The sections of a card that show rows, names or code: what looks like a placeholder there is none."""


@dataclass(frozen=True)
class LocalFile:
    """A file of a release.

    Attributes:
        path: its name in the repository, with slashes.
        content: where it lies; or, of the card, what is in it.
    """

    path: str
    content: Path | bytes
    _names: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def sha256(self) -> str:
        """What Git LFS calls it; computed once."""
        if "sha256" not in self._names:
            self._names["sha256"] = self._digest(hashlib.sha256())
        return self._names["sha256"]

    @property
    def git_oid(self) -> str:
        """What Git calls it; computed once."""
        if "git" not in self._names:
            self._names["git"] = self._digest(hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False))
        return self._names["git"]

    def _digest(self, digest: Any) -> str:
        if isinstance(self.content, bytes):
            digest.update(self.content)
            return str(digest.hexdigest())
        with self.content.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return str(digest.hexdigest())


@dataclass(frozen=True)
class Release:
    """A release folder that was found fit to publish.

    Attributes:
        folder: where it lies.
        card: its README.md.
        files: everything that a push sends, the card apart, in order of path.
        facts: what is in it, by config and split.
    """

    folder: Path
    card: str
    files: list[LocalFile]
    facts: dict[str, dict[str, SplitFacts]]

    @cached_property
    def stories(self) -> dict[str, bytes]:
        """A digest of every story that has an id; every plan of a push needs them."""
        return digest_stories(file.content for file in self.files if holds_stories(file.path))


def is_managed(path: str) -> bool:
    """Tell whether a name in a repository is one that a release gives, so that a push may replace or delete it.

    >>> [is_managed(path) for path in ("data/chat/train-00000-of-00001.parquet", "data/mine.csv", "loader.py")]
    [True, False, False]
    """
    return _MANAGED.fullmatch(path) is not None


def holds_stories(path: str) -> bool:
    """Tell whether a name in a repository is that of a file of stories."""
    return path.startswith("data/stories/") and is_managed(path)


def digest_stories(files: Iterable[Path | bytes]) -> dict[str, bytes]:
    """Give a digest of every story that has an id."""
    found = {}
    for file in files:
        with pq.ParquetFile(io.BytesIO(file) if isinstance(file, bytes) else file) as parquet:
            for batch in parquet.iter_batches():
                for story in batch.to_pylist():
                    if story.get("id"):
                        found[story["id"]] = hashlib.sha256(repr(sorted(story.items())).encode()).digest()
    return found


def metadata(card: str) -> dict[str, Any]:
    r"""Read the YAML at the top of a card; an empty mapping where there is none.

    >>> metadata("---\nlicense: cc0-1.0\n---\n# Cats")
    {'license': 'cc0-1.0'}
    """
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", card, re.DOTALL)
    values = yaml.safe_load(found[1]) if found else {}
    return values if isinstance(values, dict) else {}


def read_release(folder: Path) -> Release:
    """Read a release folder.

    Raises:
        ReleaseError: when it is not fit to publish; the message says why and what to do.
    """
    folder = folder.resolve()
    readme = folder / "README.md"
    if not readme.is_file():
        raise ReleaseError(f"{folder} holds no README.md; make a release there first: cats-alpaca build --out {folder}")
    card = readme.read_text("utf-8")
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    files = [LocalFile(name, folder / name) for name in names if is_managed(name) and name != "README.md"]
    release = Release(folder, card, files, _facts(folder))
    faults = _faults_of_card(card)
    try:
        faults += [*_faults_of_files(release), *_faults_of_numbers(release)]
    except (KeyError, TypeError, AttributeError, yaml.YAMLError):
        faults.append("the YAML of README.md has not the shape that build gives it; build it again")
    if faults:
        raise ReleaseError(f"{folder} is not fit to publish: {'; '.join(faults)}")
    return release


def _facts(folder: Path) -> dict[str, dict[str, SplitFacts]]:
    try:
        return read_facts(folder)
    except (pa.ArrowInvalid, OSError) as error:
        raise ReleaseError(f"{folder} is not fit to publish: its files cannot be read ({error})") from None


def _faults_of_card(card: str) -> list[str]:
    faults = []
    if MARK not in card:
        faults.append("README.md was not made by cats-alpaca build, so its numbers are nobody's word")
    try:
        licence = metadata(card).get("license")
    except yaml.YAMLError as error:
        return [f"the YAML of README.md cannot be read ({' '.join(str(error).split())})"]
    if not licence:
        faults.append("README.md names no licence; build it again with --license, or write one into its YAML")
    if found := _PLACEHOLDER.search(without(card, _QUOTING).split("\n---\n", 1)[-1]):
        line = card.count("\n", 0, card.index(found[0])) + 1
        faults.append(f"README.md:{line} still holds a placeholder ({found[0]!r}); write what belongs there")
    return faults


def _faults_of_files(release: Release) -> list[str]:
    faults = []
    if len(release.files) + 1 > MOST_FILES:
        faults.append(f"it has {len(release.files) + 1} files, and {MOST_FILES} are the most; build with larger shards")
    named, values = set(), metadata(release.card)
    foreign = foreign_configs(values)
    for config in values.get("configs") or []:
        if config.get("config_name") in foreign:
            continue  # its files are at the Hub, where the plan looks for them
        for data in config["data_files"]:
            files = {file.relative_to(release.folder).as_posix() for file in release.folder.glob(data["path"])}
            if not files:
                faults.append(f"README.md names {data['path']}, and there is no such file; build it again")
            named |= files
    lost = [file.path for file in release.files if file.path.startswith("data/") and file.path not in named]
    if lost:
        faults.append(f"README.md names no config that holds {lost[0]}; build it again")
    return faults


def _faults_of_numbers(release: Release) -> list[str]:
    """Compare what the card's YAML says with what the Parquet footers say."""
    values = metadata(release.card)
    infos = {info["config_name"]: info for info in values.get("dataset_info") or []}
    said = {config: info for config, info in infos.items() if config not in foreign_configs(values)}
    faults = [f"README.md has no numbers of {config}" for config in release.facts.keys() - said.keys()]
    for config, info in said.items():
        splits = release.facts.get(config, {})
        if _numbers(info) != _numbers_of_facts(splits):
            faults.append(f"the numbers of {config} in README.md are not those of its files; build it again")
        for split in splits:
            for file in sorted((release.folder / "data" / config).glob(f"{split}-*.parquet")):
                if pq.read_schema(file).metadata:
                    faults.append(f"{file.name} carries metadata of a schema, which older `datasets` refuse")
    return faults


def _numbers(info: dict[str, Any]) -> object:
    splits = {split["name"]: (split["num_examples"], split["num_bytes"]) for split in info["splits"]}
    return splits, info["download_size"], info["dataset_size"]


def _numbers_of_facts(splits: dict[str, SplitFacts]) -> object:
    return (
        {split: (facts.rows, facts.data_bytes) for split, facts in splits.items()},
        sum(facts.file_bytes for facts in splits.values()),
        sum(facts.data_bytes for facts in splits.values()),
    )
