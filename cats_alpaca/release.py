"""Stories become a release folder: `README.md`, `dataset_info.json` and `data/<config>/<split>-NNNNN-of-NNNNN.parquet`.

The folder is what a Hub repository will hold, and `datasets.load_dataset` of any version loads it by its path.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import card, recipes
from .card import SplitFacts, read_facts, shards
from .errors import ReleaseError
from .formats import CONFIGS
from .stories import PACKAGED, read_stories
from .writing import ParquetFile

Facts = dict[str, dict[str, SplitFacts]]

SHARD_BYTES = 500 << 20


def build(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    force: bool = False,
    **reading: Any,
) -> Facts:
    """Write the release folder of some stories, or leave what was there as it was.

    It manages `README.md`, `dataset_info.json` (for LLaMA-Factory) and, under `data/`, the files of its configs; it
    removes those of them that are stale and touches nothing else.

    >>> import tempfile
    >>> facts = build(out=tempfile.mkdtemp())
    >>> list(facts), list(facts["alpaca"])
    (['alpaca', 'chat', 'prompt_completion', 'stories'], ['train', 'test'])

    Args:
        train: the sources of the train split; None is the packaged stories, both splits.
        test: the sources of the test split.
        out: the folder, made when it is not there.
        test_fraction: the share of the train sources that becomes the test split, between 0 and 1. A hash of the
            question decides, so that new stories move no old one, and one question's stories stay together.
        force: write even where a `README.md` or a `data/` is not ours.
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
    with _workshop(out) as folder:
        _write_data(folder, _splits(train, test, test_fraction, reading))
        facts = read_facts(folder)
        (folder / "dataset_info.json").write_text(recipes.dataset_info(), "utf-8", newline="\n")
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
            stale = [*_stale_data(out, fresh), *_stale_texts(out)]
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


def _stale_texts(out: Path) -> Iterator[str]:
    for name, text in {"README.md": card.render(read_facts(out)), "dataset_info.json": recipes.dataset_info()}.items():
        if not (out / name).is_file() or (out / name).read_text("utf-8") != text:
            yield f"the card {name}" if name == "README.md" else name


def _refuse_foreign(out: Path) -> None:
    readme = out / "README.md"
    if readme.is_dir():
        raise ReleaseError(f"{readme} is a folder; name another --out")
    if readme.exists():
        if card.MARK not in readme.read_text("utf-8", errors="replace"):
            raise ReleaseError(
                f"{readme} was not made by this command; name another folder, or overwrite it with --force"
            )
        return
    for name in ("data", "dataset_info.json"):
        if (out / name).exists():
            raise ReleaseError(
                f"{out / name} was not made by this command; name another folder, or write there with --force"
            )


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """Give a folder inside the release folder to write in; remove it, and a release folder that stayed empty."""
    was_there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".build-", dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there and not any(out.iterdir()):
            out.rmdir()


def _splits(
    train: str | Iterable[str] | None, test: str | Iterable[str] | None, test_fraction: float, reading: dict[str, Any]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    if train is None:
        train, test = PACKAGED["train"], PACKAGED["test"]
    for batch in read_stories(train, **reading):
        if test_fraction:
            in_test = pa.array([_hash(question) < test_fraction for question in batch["question"].to_pylist()])
            yield "test", batch.filter(in_test)
            batch = batch.filter(pc.invert(in_test))
        yield "train", batch
    found = False
    for batch in read_stories(test, **reading) if test else ():
        found = True
        yield "test", batch
    if test and not found:
        raise ReleaseError("the test sources hold no stories; name others, or leave --test out")


def _hash(question: str) -> float:
    """Turn a text into a number between 0 and 1, the same for ever.

    >>> _hash("なぜ鳴くの？") == _hash("なぜ鳴くの？"), 0 <= _hash("なぜ") < 1
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:6], "big") / 2**48


def _write_data(folder: Path, batches: Iterable[tuple[str, pa.RecordBatch]]) -> None:
    with ExitStack() as stack:
        writers: dict[tuple[str, str], _Shards] = {}
        for split, batch in batches:
            for config, (schema, to_rows) in CONFIGS.items() if batch.num_rows else ():
                if (config, split) not in writers:
                    writers[config, split] = stack.enter_context(_Shards(folder / "data" / config, split, schema))
                writers[config, split].write(to_rows(batch))
    if not any(split == "train" for _, split in writers):
        raise ReleaseError("no story is left for the train split; choose a smaller --test-fraction")


class _Shards:
    """Writes one split of one config, in files of bounded size."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.split, self.schema = folder, split, schema
        self.names: list[Path] = []
        self.file = self._open_next()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the last file and give all their final names, now that it is known how many there are."""
        self.file.__exit__(*error)
        for number, name in enumerate(self.names):
            name.rename(self.folder / f"{self.split}-{number:05d}-of-{len(self.names):05d}.parquet")

    def write(self, rows: pa.RecordBatch) -> None:
        if self.file.nbytes and self.file.nbytes + rows.nbytes > SHARD_BYTES:
            self.file.__exit__()
            self.file = self._open_next()
        self.file.write(rows)

    def _open_next(self) -> ParquetFile:
        self.names.append(self.folder / f"{self.split}-{len(self.names):05d}.parquet")
        return ParquetFile(self.names[-1], self.schema, by_content=True)


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
