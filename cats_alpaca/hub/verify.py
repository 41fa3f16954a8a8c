"""Loads a release as a stranger would, in a process and a cache of its own, and compares it with what was meant.

`datasets` answers from its cache, in silence, when a repository is unreachable or missing: so nobody who published
something should believe what their own process shows them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..card import digest, digest_of_all
from ..errors import CatsAlpacaError
from .local import LocalFile, Release

_CACHES = re.compile(r"(HF|HUGGINGFACE)_\w*CACHE")


class LoadError(CatsAlpacaError):
    """`datasets` could not load it."""


def differences(
    stranger: Stranger,
    release: Release,
    source: str,
    revision: str | None = None,
    *,
    sample: bool = False,
    card: LocalFile | None = None,
    timeout: float = 60,
) -> list[str]:
    """Load a release folder, or what was published of it, and say where it differs from the release.

    Args:
        stranger: the process to load it in.
        release: what was meant.
        source: the folder, or the repository's name.
        revision: the commit, of a repository.
        sample: look at the row counts of all files, and into one file a config and split only.
        card: the card as it was published.
        timeout: the seconds after which a silent request is given up.

    Raises:
        LoadError: when it does not load.
    """
    files = _first_shards(release) if sample else list(release.files)
    job = {
        "source": source,
        "revision": revision,
        "timeout": timeout,
        "sample": sample,
        "splits": {
            config: {split: str(_shards(release, config, split)[0].content) for split in splits}
            for config, splits in release.facts.items()
        },
        "cuts": {
            config: {split: _cuts(release, config, split, sample) for split in splits}
            for config, splits in release.facts.items()
        },
        "files": [file.path for file in files] + (["README.md"] if card else []),
        "footers": [file.path for file in release.files if file.path.startswith("data/")],
    }
    found = stranger.load(job)
    return [*_wrong_rows(release, found["splits"], sample), *_wrong_files(files, card, found)]


def _wrong_rows(release: Release, found: dict[str, dict[str, Any]], sample: bool) -> Iterator[str]:
    for config, splits in release.facts.items():
        if found.get(config, {}).keys() != splits.keys():
            yield f"{config} has the splits {', '.join(found.get(config, {})) or 'none'}, not {', '.join(splits)}"
            continue
        for split, facts in splits.items():
            got = found[config][split]
            if got["rows"] != facts.rows:
                yield f"{config}/{split} has {got['rows']:,} rows, not {facts.rows:,}"
            elif got["digest"] != (_digest_of_first(release, config, split) if sample else facts.digest):
                yield f"the rows of {config}/{split} are others"
            if not got["features_equal"]:
                yield f"the features of {config}/{split} are others"


def _digest_of_first(release: Release, config: str, split: str) -> str:
    return digest(pq.ParquetFile(_shards(release, config, split)[0].content).iter_batches())


def _wrong_files(files: list[LocalFile], card: LocalFile | None, found: dict[str, Any]) -> Iterator[str]:
    for file in [*files, *([card] if card else [])]:
        if found["files"].get(file.path) != file.sha256:
            yield f"{file.path} has another sha256"


def _shards(release: Release, config: str, split: str) -> list[LocalFile]:
    return [file for file in release.files if file.path.startswith(f"data/{config}/{split}-")]


def _cuts(release: Release, config: str, split: str, sample: bool) -> list[int]:
    files = _shards(release, config, split)[: 1 if sample else None]
    return [pq.read_metadata(file.content).num_rows for file in files]


def _first_shards(release: Release) -> list[LocalFile]:
    return [_shards(release, config, split)[0] for config, splits in release.facts.items() for split in splits]


class Stranger:
    """A process with empty caches that loads what it is told and says what it found.

    It is used for one folder or commit, or for a folder and then a commit, which no cache takes for the same. When this
    process is killed, that one removes its home and ends.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token or ""
        self._start()

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._home.cleanup()

    def forget(self) -> None:
        """Begin again, with empty caches."""
        self.__exit__()
        self._start()

    def _start(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="cats-alpaca-")
        environment = {name: value for name, value in os.environ.items() if not _CACHES.fullmatch(name)}
        environment |= {"HF_HOME": self._home.name, "HF_TOKEN": self._token, "HF_HUB_OFFLINE": "0", "PYTHONUTF8": "1"}
        environment |= {"HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment |= {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "0", "PYTHONPATH": _python_path()}
        if "HF_ENDPOINT" in environment:
            environment["HF_ENDPOINT"] = environment["HF_ENDPOINT"].rstrip("/")
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # Elsewhere, a folder of the repository's name or a `datasets.py` would be taken for what is meant.
            cwd=self._home.name,
            # A signal to all of a terminal's processes, such as Ctrl-C, is not for this one: it has to clear up.
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )

    def load(self, job: dict[str, Any]) -> dict[str, Any]:
        """Load what a job names.

        Raises:
            LoadError: when that fails.
        """
        asks, answers = self._process.stdin, self._process.stdout
        assert asks  # noqa: S101
        assert answers  # noqa: S101
        try:
            asks.write(json.dumps(job) + "\n")
            asks.flush()
            answer = json.loads(answers.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise LoadError(f"{job['source']} does not load: the process that should load it ended") from None
        if "error" in answer:
            raise LoadError(f"{job['source']} does not load with `datasets`: {answer['error']}")
        return answer  # type: ignore[no-any-return]


def _python_path() -> str:
    """Name, from any folder, where this very package is, and what the user named."""
    theirs = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(Path(__file__).parents[2]), *map(os.path.abspath, theirs)])


def _main() -> None:
    """Be the stranger: one job a line comes in, one answer a line goes out."""
    answers, sys.stdout = sys.stdout, sys.stderr
    jobs: SimpleQueue[str] = SimpleQueue()
    # No daemon: when an answer finds nobody to read it, Python waits for this one before it ends.
    Thread(target=_take, args=(jobs,)).start()

    while True:
        answers.write(json.dumps(_answer(json.loads(jobs.get()))) + "\n")
        answers.flush()


def _take(jobs: SimpleQueue[str]) -> None:
    """Take in jobs; when whoever sends them is gone, turn into a process that only removes the home.

    Whatever is being loaded ends with that, and puts no file there any more.
    """
    for line in sys.stdin:
        jobs.put(line)
    remove = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"
    os.execv(sys.executable, [sys.executable, "-IS", "-c", remove, os.environ["HF_HOME"]])  # noqa: S606


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    from .faults import client_settings, explained, wait_asked_for

    try:
        with client_settings(job["timeout"]):
            splits = {config: _splits(job, config, meant) for config, meant in job["splits"].items()}
            return {"splits": splits, "files": _files(job)}
    except Exception as error:
        said = str(explained(error)) if wait_asked_for(error) else f"{type(error).__name__}: {error}"
        return {"error": " ".join(said.split())[:500]}


def _files(job: dict[str, Any]) -> dict[str, str]:
    from huggingface_hub import hf_hub_download

    digests = {}
    for path in job["files"]:
        if job["revision"]:
            file = hf_hub_download(job["source"], path, repo_type="dataset", revision=job["revision"])
        else:
            file = os.path.join(job["source"], path)
        digests[path] = LocalFile(path, Path(file)).sha256
    return digests


def _splits(job: dict[str, Any], config: str, meant: dict[str, str]) -> dict[str, Any]:
    import datasets

    options: dict[str, Any] = {"revision": job["revision"]}
    if job["sample"]:
        options["data_files"] = {name: _footers(job, config, name)[0] for name in meant}
        options["verification_mode"] = "no_checks"
    loaded = datasets.load_dataset(job["source"], config, **options)
    features = {name: datasets.Features.from_arrow_schema(pq.read_schema(file)) for name, file in meant.items()}
    return {
        name: {**_describe(job, config, name, rows), "features_equal": rows.features == features.get(name)}
        for name, rows in loaded.items()
    }


def _footers(job: dict[str, Any], config: str, split: str) -> list[str]:
    return [path for path in job["footers"] if path.startswith(f"data/{config}/{split}-")]


def _describe(job: dict[str, Any], config: str, split: str, rows: Any) -> dict[str, Any]:
    return {
        "rows": sum(_rows(job, path) for path in _footers(job, config, split)) if job["sample"] else rows.num_rows,
        "digest": digest_of_all([digest(part) for part in _cut(rows.data.table, job["cuts"][config][split])]),
    }


def _cut(table: pa.Table, cuts: list[int]) -> Iterator[list[pa.RecordBatch]]:
    """Cut rows as the files do that hold them, of which each has a digest; the last one takes all that is left."""
    at = 0
    for length in cuts[:-1]:
        yield table.slice(at, length).to_batches()
        at += length
    yield table.slice(at).to_batches()


def _rows(job: dict[str, Any], path: str) -> int:
    """Read how many rows a file's footer names; over the network, that is a request of some kB."""
    if not job["revision"]:
        return int(pq.read_metadata(Path(job["source"], path)).num_rows)
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(f"datasets/{job['source']}@{job['revision']}/{path}", block_size=1 << 16) as stream:
        return int(pq.read_metadata(stream).num_rows)


if __name__ == "__main__":
    _main()
