"""Stories become a release folder: `README.md`, `assets/*.png`, `data/<config>/<split>-NNNNN-of-NNNNN.parquet`.

The folder is what a Hub repository will hold, and `datasets.load_dataset` of any version loads it by its path.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import card
from .card import Fields, SplitFacts, pictures, read_facts, shards, tokens
from .card.fields import PACKAGED as PACKAGED_FIELDS
from .card.numbers import count
from .errors import ReleaseError
from .formats import CONFIGS, FEEDBACK_CONFIGS, SCHEMAS, turns_to_stories
from .stories import PACKAGED, read_stories
from .writing import ParquetFile

if TYPE_CHECKING:
    from .feedback.export import Given

Facts = dict[str, dict[str, SplitFacts]]

SHARD_BYTES = 500 << 20


def build(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    feedback: str | Path | None = None,
    force: bool = False,
    fields: Mapping[str, object] | None = None,
    **reading: Any,
) -> Facts:
    """Write the release folder of some stories, or leave what was there as it was.

    It manages the pictures in `assets/`, the files of its configs under `data/`, and in `README.md` what stands between
    its markers; it removes those of them that are stale and touches nothing else.

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
        feedback: a feedback store: what both consents are given for today joins the train split, and nothing that was
            taken back is in any, even if a source holds it.
        force: write even where a `README.md`, a picture or a `data/` is not ours.
        fields: what the card says that no program can know, such as `title`, `license` and `language`; see
            `cats_alpaca.card.fields`. They are added to what the card in the folder says already; an empty one is
            taken away. The packaged stories have theirs, in `stories/card.yaml`.
        **reading: what `read_stories` takes: `keys`, `encoding`, `max_line_bytes`, `report`, `on_problem`, `progress`.

    Returns:
        What was written, by config and split.

    Raises:
        ReleaseError: when the folder holds a `README.md`, a picture or a `data/` that we did not make; when a field is
            unknown, or a section of the card has lost its end.
        StoriesError: when lines are no stories; nothing is written then.
        SourceError: when a source cannot be read; nothing is written then.
        FeedbackError: when the feedback store cannot be used; nothing is written then.
    """
    given = _collect(feedback) if feedback is not None else None
    facts = _build(train, test, Path(out), test_fraction, given, force, fields, reading)
    if feedback is not None and given is not None:
        _remember(feedback, facts, given)
    return facts


def _build(
    train: str | Iterable[str] | None,
    test: str | Iterable[str] | None,
    out: Path,
    test_fraction: float,
    given: Given | None,
    force: bool,
    fields: Mapping[str, object] | None,
    reading: dict[str, Any],
) -> Facts:
    if not force:
        _refuse_foreign(out)
    told = _told(out, train, fields)
    with _workshop(out) as folder:
        if given:
            reading = {**reading, "refuse": given.refuse}
        _write_data(folder, _splits(train, test, test_fraction, given, reading))
        if given:
            _write_feedback(folder, given.turns)
        facts = read_facts(folder)
        pictures.draw(folder, count(folder))
        (folder / "README.md").write_text(_card(folder, facts, out, told), "utf-8", newline="\n")
        _install(folder, out)
    return facts


def check_release(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    feedback: str | Path | None = None,
    fields: Mapping[str, object] | None = None,
    **reading: Any,
) -> None:
    """Compare a release folder with what `build` would make of the stories today: rows, schema, card and pictures.

    Bytes are not compared: they are equal only under equal library versions. Nor is the card's table of tokens, where
    splintr-rs is not installed.

    Raises:
        ReleaseError: when something is stale; the message says what.
    """
    out = Path(out)
    with tempfile.TemporaryDirectory() as folder:
        given = _collect(feedback) if feedback is not None else None
        fresh = _build(train, test, Path(folder), test_fraction, given, False, fields, reading)
        try:
            found = read_facts(out)
            stale = [*_stale_data(out, found, fresh), *_stale_card(out, found, _told(out, train, fields))]
        except (pa.ArrowInvalid, OSError) as error:
            stale = [f"it cannot be read ({error})"]
    if stale:
        raise ReleaseError(f"{out} is stale: {'; '.join(stale)}. Build it again: cats-alpaca build --out {out}")


def digest(folder: str | Path) -> str:
    """Digest all rows of a release folder; the same rows give the same digest, whatever the card says.

    >>> from cats_alpaca import path
    >>> len(digest(path()))
    64
    """
    return _digest(read_facts(Path(folder)))


def _digest(facts: Facts) -> str:
    rows = [f"{config} {split} {found.digest}\n" for config in facts for split, found in facts[config].items()]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _collect(feedback: str | Path) -> Given:
    from .feedback.export import collect  # the checks take a while to import
    from .feedback.store import open_store

    with open_store(feedback, create=False) as store:
        return collect(store)


def _remember(feedback: str | Path, facts: Facts, given: Given) -> None:
    from .feedback.store import open_store
    from .feedback.withdrawal import record_build

    with open_store(feedback, create=False) as store:
        record_build(store, _digest(facts), given.ids)


def _stale_data(out: Path, found: Facts, fresh: Facts) -> Iterator[str]:
    for config, schema in SCHEMAS.items():
        splits, others = fresh.get(config, {}), found.get(config, {})
        for split in sorted(splits.keys() | others.keys()):
            new, old = splits.get(split), others.get(split)
            if new is None or old is None or new.digest != old.digest:
                yield f"the rows of {config}/{split}"
            for file in shards(out, config, split):
                # Schema metadata of `datasets` 4 and newer would make older versions refuse the file.
                if not (footer := pq.read_schema(file)).equals(schema) or footer.metadata:
                    yield f"the schema of {file.relative_to(out)}"


def _stale_card(out: Path, facts: Facts, told: Fields) -> Iterator[str]:
    found = _our_card(out)
    if not tokens.available():
        found = card.without(found, tokens.SECTIONS)
    if not found or _card(out, facts, out, told) != found:
        yield "the card README.md"
    yield from (f"the picture {name}" for name in pictures.stale(out, count(out)))


def _told(out: Path, train: object, fields: Mapping[str, object] | None) -> Fields:
    """Give what the card says that no program can know: the packaged fields; or the card's own, and those added."""
    found = _our_card(out)
    before = card.read_fields(PACKAGED_FIELDS) if train is None else card.told_by(found) if found else {}
    return {**before, **card.checked(fields or {})}


def _card(folder: Path, facts: Facts, out: Path, told: Fields) -> str:
    """Write the card of the files in a folder, with what people wrote into the one that is there."""
    text = card.render(folder, facts, out.resolve().name, told)
    found = _our_card(out)
    return card.merge(text, found) if found else text


def _our_card(out: Path) -> str:
    readme = out / "README.md"
    text = readme.read_text("utf-8", errors="replace") if readme.is_file() else ""
    return text if card.MARK in text else ""


def _refuse_foreign(out: Path) -> None:
    readme = out / "README.md"
    if readme.is_dir():
        raise ReleaseError(f"{readme} is a folder; name another --out")
    if readme.exists() and not _our_card(out):
        raise ReleaseError(f"{readme} was not made by this command; name another folder, or overwrite it with --force")
    for name in [*([] if readme.exists() else ["data"]), *pictures.NAMES]:
        if (out / name).exists() and not pictures.shown(out / name):
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
    train: str | Iterable[str] | None,
    test: str | Iterable[str] | None,
    test_fraction: float,
    given: Given | None,
    reading: dict[str, Any],
) -> Iterator[tuple[str, pa.RecordBatch]]:
    if train is None:
        train, test = PACKAGED["train"], PACKAGED["test"]
    for batch in read_stories(train, **reading):
        if test_fraction:
            in_test = pa.array([_hash(question) < test_fraction for question in batch["question"].to_pylist()])
            yield "test", batch.filter(in_test)
            batch = batch.filter(pc.invert(in_test))
        yield "train", batch
    if given:
        yield "train", turns_to_stories(given.turns)
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


def _write_feedback(folder: Path, turns: pa.RecordBatch) -> None:
    for config, (schema, to_rows) in FEEDBACK_CONFIGS.items():
        if (rows := to_rows(turns)).num_rows:
            with _Shards(folder / "data" / config, "train", schema) as files:
                files.write(rows)


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
    """Move the finished files in: what is stale goes first, the card that describes all comes last."""
    new = {file.relative_to(made) for file in made.rglob("*") if file.is_file()}
    for picture in pictures.NAMES:
        if Path(picture) not in new and pictures.shown(out / picture):
            (out / picture).unlink()
    for config in SCHEMAS:
        for split in ("train", "test"):
            for file in shards(out, config, split):
                if file.relative_to(out) not in new:
                    file.unlink()
    for name in sorted(new, key=lambda name: (name == Path("README.md"), name)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(out / name)
