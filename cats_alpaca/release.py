"""Stories become a release folder: `README.md` and `data/<config>/<split>-NNNNN-of-NNNNN.parquet`.

The folder is what a Hub repository will hold, and `datasets.load_dataset` of any version loads it by its path.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import card
from .card import SplitFacts, read_facts, shards
from .errors import ReleaseError, StoriesError
from .formats import CONFIGS
from .manifest import Manifest
from .ranges import SHARD_BYTES, Portion, most_portions, plan_portions
from .remote import to_any_folder
from .sharding import Outcome, Work, make_portions, name_shards, processors, tell
from .sources import find_files
from .stories import PACKAGED, Report

Facts = dict[str, dict[str, SplitFacts]]

UNFINISHED = ".build-unfinished"
"""The hidden folder in a release folder where a build writes; what a stopped one finished stays there."""


@to_any_folder("out")
def build(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    force: bool = False,
    max_shard_size: int = SHARD_BYTES,
    threads: int | None = None,
    resume: bool = False,
    **reading: Any,
) -> Facts:
    """Write the release folder of some stories, or leave what was there as it was.

    It manages `README.md` and, under `data/`, the files of its configs; it removes those of them that are stale and
    touches nothing else.

    >>> import tempfile
    >>> facts = build(out=tempfile.mkdtemp())
    >>> list(facts), list(facts["alpaca"])
    (['alpaca', 'chat', 'prompt_completion', 'stories'], ['train', 'test'])

    Args:
        train: the sources of the train split; None is the packaged stories, both splits.
        test: the sources of the test split.
        out: the folder, made when it is not there; or a URL that `fsspec` can write to.
        test_fraction: the share of the train sources that becomes the test split, between 0 and 1. A hash of the
            question decides, so that new stories move no old one, and one question's stories stay together.
        force: write even where a `README.md` or a `data/` is not ours.
        max_shard_size: how many bytes of JSONL become one shard; doubled until there are at most a hundred files.
        threads: how many compute at the same time, which changes no byte of the result; None is one a processor.
        resume: keep what a stopped build finished, where lines, options and code are the same; what it is made of
            again gives the same bytes.
        **reading: what `read_stories` takes: `keys`, `encoding`, `max_line_bytes`, `report`, `on_problem`, `progress`.

    Returns:
        What was written, by config and split.

    Raises:
        ReleaseError: when the folder holds a `README.md` or a `data/` that we did not make.
        StoriesError: when lines are no stories; nothing is written then.
        SourceError: when a source cannot be read; nothing is written then.
    """
    out = Path(out)
    if not force:
        _refuse_foreign(out)
    with _workshop(out, resume) as (folder, shards_folder):
        sources = [("train", file) for file in find_files(PACKAGED["train"] if train is None else train)]
        sources += [("test", file) for file in find_files(PACKAGED["test"] if train is None else test or ())]
        splits = 2 if test_fraction else 1
        portions, shard_bytes = plan_portions(
            sources,
            encoding=reading.get("encoding"),
            shard_bytes=max_shard_size,
            most=most_portions(len(CONFIGS), splits),
        )
        work = work_of(tuple(CONFIGS), shard_bytes, test_fraction=test_fraction, **reading)
        _write_data(shards_folder, folder / "data", portions, work, threads or processors(), reading)
        facts = read_facts(folder)
        (folder / "README.md").write_text(card.render(facts), "utf-8", newline="\n")
        _install(folder, out)
    return facts


def check_release(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    **options: Any,
) -> None:
    """Compare a release folder with what `build` would make of the stories today: rows, schema and card.

    Bytes are not compared: they are equal only under equal library versions.

    Raises:
        ReleaseError: when something is stale; the message says what.
    """
    out = Path(out)
    with tempfile.TemporaryDirectory() as folder:
        fresh = build(train, test, out=folder, **options)
        try:
            stale = [*_stale_data(out, fresh), *_stale_card(out)]
        except (pa.ArrowInvalid, OSError) as error:
            stale = [f"it cannot be read ({error})"]
    if stale:
        raise ReleaseError(f"{out} is stale: {'; '.join(stale)}. Build it again: cats-alpaca build --out {out}")


def _stale_data(out: Path, fresh: Facts) -> Iterator[str]:
    found = read_facts(out)
    for config, (schema, _) in CONFIGS.items():
        for split in fresh[config].keys() | found[config].keys():
            new, old = fresh[config].get(split), found[config].get(split)
            if new is None or old is None or new.digest != old.digest:
                yield f"the rows of {config}/{split}"
            for file in shards(out, config, split):
                # Schema metadata of `datasets` 4 and newer would make older versions refuse the file.
                if not (footer := pq.read_schema(file)).equals(schema) or footer.metadata:
                    yield f"the schema of {file.relative_to(out)}"


def _stale_card(out: Path) -> Iterator[str]:
    readme = out / "README.md"
    if not readme.is_file() or readme.read_text("utf-8") != card.render(read_facts(out)):
        yield "the card README.md"


def _refuse_foreign(out: Path) -> None:
    readme = out / "README.md"
    if readme.is_dir():
        raise ReleaseError(f"{readme} is a folder; name another --out")
    if readme.exists():
        if card.MARK not in readme.read_text("utf-8", errors="replace"):
            raise ReleaseError(
                f"{readme} was not made by this command; name another folder, or overwrite it with --force"
            )
    elif (out / "data").exists():
        raise ReleaseError(
            f"{out / 'data'} was not made by this command; name another folder, or write there with --force"
        )


@contextmanager
def _workshop(out: Path, resume: bool) -> Iterator[tuple[Path, Path]]:
    """Give two folders inside the release folder, for what will be installed and for shards; remove them afterwards.

    A release folder that stayed empty goes, too. The shards stay when a build breaks off that has finished some, and
    the next build says whether it goes on with them.
    """
    was_there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    folder = out / UNFINISHED
    with _locked(out):
        keep = False
        try:
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder / "release", ignore_errors=True)
            for part in ("release", "shards"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            yield folder / "release", folder / "shards"
        except (StoriesError, ReleaseError):
            raise
        except BaseException:
            keep = (folder / "shards" / "manifest.json").exists()
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            if not was_there and not any(out.iterdir()):
                out.rmdir()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other builds out of a release folder; the system lets go of it when the process ends, however it does."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ReleaseError(f"{out} is being built by another process; wait for it, or name another --out") from None
    finally:
        os.close(folder)


def work_of(configs: tuple[str, ...], shard_bytes: int, *, test_fraction: float = 0.0, **reading: Any) -> Work:
    """Take from the reading options what decides the bytes."""
    names = {"keys", "encoding", "max_line_bytes", "block_bytes"} & reading.keys()
    options = {name: reading[name] for name in names}
    return Work(configs, shard_bytes, test_fraction, keep_problems=reading.get("on_problem") is not None, **options)


def _write_data(
    folder: Path, data: Path, portions: list[Portion], work: Work, threads: int, reading: dict[str, Any]
) -> None:
    report = reading.get("report") or Report()
    made = make_portions(
        portions,
        work,
        folder,
        threads=threads,
        progress=reading.get("progress"),
        make=Manifest(folder, work).make_portion,
    )
    with closing(made):
        outcomes = list(tell(portions, made, folder, report, reading.get("on_problem")))
    report.close((one.file for portion in portions for one in portion.ranges), strict=not reading.get("on_problem"))
    _refuse_empty_splits(portions, outcomes)
    pa.default_memory_pool().release_unused()  # the threads are gone, and what they were working with
    name_shards((shard for outcome in outcomes for shard in outcome.shards), folder, data.joinpath)


def _refuse_empty_splits(portions: list[Portion], outcomes: list[Outcome]) -> None:
    found = {shard.split for outcome in outcomes for shard in outcome.shards}
    if "train" not in found:
        raise ReleaseError("no story is left for the train split; choose a smaller --test-fraction")
    if "test" not in found and any(portion.split == "test" for portion in portions):
        raise ReleaseError("the test sources hold no stories; name others, or leave --test out")


def _install(made: Path, out: Path) -> None:
    """Move the finished files in: stale shards go first, the card that describes them all comes last."""
    new = {file.relative_to(made) for file in made.rglob("*") if file.is_file()}
    for config in CONFIGS:
        for split in ("train", "test"):
            for file in shards(out, config, split):
                if file.relative_to(out) not in new:
                    file.unlink()
    for name in sorted(new, key=lambda name: (name == Path("README.md"), name)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(out / name)
