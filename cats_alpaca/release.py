"""Stories become a release folder: a card, pictures, `dataset_info.json` and `data/<config>/<split>-….parquet`.

The folder is what a Hub repository will hold, and `datasets.load_dataset` of any version loads it by its path.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from . import __version__, card, recipes
from .card import Fields, SplitFacts, pictures, read_facts, shards, tokens
from .card.facts import Folder, same_rows
from .card.fields import PACKAGED as PACKAGED_FIELDS
from .card.numbers import Numbers, count
from .errors import ReleaseError
from .formats import CONFIGS, FEEDBACK_CONFIGS, SCHEMAS, turns_to_stories
from .manifest import Manifest
from .ranges import SHARD_BYTES, Portion, most_portions, plan_portions
from .remote import beside, fetch_card, is_url, refuse_foreign, refuse_place, upload
from .sharding import Outcome, Shard, Work, make_portions, name_shards, processors, tell
from .sources import find_files
from .stories import PACKAGED, Refuse, Report
from .workshop import UNFINISHED, install, workshop, workshop_behind
from .writing import ParquetFile

if TYPE_CHECKING:
    from .feedback.export import Given

Facts = dict[str, dict[str, SplitFacts]]

_INFO = "dataset_info.json"


def build(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    feedback: str | Path | None = None,
    force: bool = False,
    fields: Mapping[str, object] | None = None,
    max_shard_size: int = SHARD_BYTES,
    threads: int | None = None,
    resume: bool = False,
    engine: str = "threads",
    ray_address: str | None = None,
    **reading: Any,
) -> Facts:
    """Write the release folder of some stories, or leave what was there as it was.

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
        feedback: a feedback store: what both consents are given for today joins the train split, and nothing that was
            taken back is in any, even if a source holds it.
        force: write even where a `README.md`, a picture or a `data/` is not ours.
        fields: what the card says that no program can know, such as `title`, `license` and `language`; see
            `cats_alpaca.card.fields`. They are added to what the card in the folder says already; an empty one is
            taken away. The packaged stories have theirs, in `stories/card.yaml`.
        max_shard_size: how many bytes of JSONL become one shard; doubled until there are at most a hundred files,
            or one is of 32 GB.
        threads: how many compute at the same time, which changes no byte of the result; None is one a processor. On a
            cluster, how many cores each portion takes; None is as many as there are for each.
        resume: keep what a stopped build finished, where lines, options and code are the same; what it is made of
            again gives the same bytes.
        engine: "threads" is this machine; "ray" is a cluster, whose nodes all see the sources and `out` under the same
            names, as a folder or as a URL. The bytes are the same.
        ray_address: the cluster's; None is what the variable `RAY_ADDRESS` says, or a Ray of its own on this machine.
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
    how = _How(test_fraction, max_shard_size, threads, resume, engine, ray_address)
    with _where(out, force) as (folder, url):
        facts = _build(train, test, folder, how._replace(url=url), given, force, fields, reading)
    if feedback is not None and given is not None:
        _remember(feedback, facts, given)
    return facts


@contextmanager
def _where(out: str | Path, force: bool) -> Iterator[tuple[Path, str]]:
    """Give the release folder; or one of this machine for what is no shard, and the URL of all."""
    if not is_url(out):
        yield Path(out), ""
        return
    refuse_place(str(out))
    if not force:
        refuse_foreign(str(out))
    with beside(str(out)) as folder:
        fetch_card(str(out), folder)
        yield folder, str(out).rstrip("/")


class _How(NamedTuple):
    """How sources become shards."""

    test_fraction: float
    max_shard_size: int
    threads: int | None
    resume: bool = False
    engine: str = "threads"
    ray_address: str | None = None
    url: str = ""

    @property
    def shards_url(self) -> str:
        """Where shards go until the card is written, if not into a folder."""
        return f"{self.url}/{UNFINISHED}" if self.url else ""


def _build(
    train: str | Iterable[str] | None,
    test: str | Iterable[str] | None,
    out: Path,
    how: _How,
    given: Given | None,
    force: bool,
    fields: Mapping[str, object] | None,
    reading: dict[str, Any],
) -> Facts:
    if not force:
        _refuse_foreign(out)
    told = _told(out, train, fields)
    with workshop(out, how.resume) as (folder, shards_folder), workshop_behind(how.shards_url, how.resume):
        phrases = tuple(told.get("phrases", ()))
        made, numbers = _write_data(shards_folder, folder / "data", _sources(train, test), how, given, phrases, reading)
        release = _places(made) if how.url else folder
        facts = read_facts(release, {_place(file, shard): shard.digest for file, shard in made.items()})
        pictures.draw(folder, numbers)
        (folder / _INFO).write_text(recipes.dataset_info(list(facts["alpaca"])), "utf-8", newline="\n")
        (folder / "README.md").write_text(_card(release, facts, numbers, out, told), "utf-8", newline="\n")
        if how.url:
            far = {file: shard.file for file, shard in made.items() if is_url(shard.file)}
            here = filter(Path.is_file, folder.rglob("*"))
            name_in = partial(_name_in, folder)
            upload(how.url, {name_in(file): file for file in here}, {name_in(file): url for file, url in far.items()})
        else:
            install(folder, out)
    return facts


def _name_in(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _places(made: dict[Path, Shard]) -> Folder:
    places: dict[tuple[str, str], list[Path | str]] = {}
    for file, shard in made.items():
        places.setdefault((shard.config, shard.split), []).append(_place(file, shard))
    return places


def _place(file: Path, shard: Shard) -> Path | str:
    return shard.file if is_url(shard.file) else file


def check_release(
    train: str | Iterable[str] | None = None,
    test: str | Iterable[str] | None = None,
    *,
    out: str | Path,
    test_fraction: float = 0.0,
    feedback: str | Path | None = None,
    fields: Mapping[str, object] | None = None,
    max_shard_size: int = SHARD_BYTES,
    threads: int | None = None,
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
        how = _How(test_fraction, max_shard_size, threads)
        fresh = _build(train, test, Path(folder), how, given, False, fields, reading)
        try:
            found = read_facts(out)
            stale = [
                *_stale_data(out, found, Path(folder), fresh),
                *_stale_card(out, found, _told(out, train, fields)),
            ]
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


def find_turns(folder: str | Path) -> list[str]:
    """List the ids of the stories in a release folder that came from a feedback store.

    >>> from cats_alpaca import path
    >>> find_turns(path())
    []

    Raises:
        ReleaseError: when the folder holds no stories at all.
    """
    files = [file for split in ("train", "test") for file in shards(Path(folder), "stories", split)]
    if not files:
        raise ReleaseError(f"{folder} holds no release; name the folder that was published with --release")
    ids = [id_ for file in files for id_ in pq.read_table(file, columns=["id"])["id"].to_pylist()]
    return [id_ for id_ in ids if id_ and id_.startswith("fb-")]


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


def _stale_data(out: Path, found: Facts, made: Path, fresh: Facts) -> Iterator[str]:
    for config, schema in SCHEMAS.items():
        splits, others = fresh.get(config, {}), found.get(config, {})
        for split in sorted(splits.keys() | others.keys()):
            new, old = splits.get(split), others.get(split)
            # Cut into files at other places, the same rows have another digest.
            if not (new and old) or (new.digest != old.digest and not same_rows(made, out, config, split)):
                yield f"the rows of {config}/{split}"
            for file in shards(out, config, split):
                # Schema metadata of `datasets` 4 and newer would make older versions refuse the file.
                if not (footer := pq.read_schema(file)).equals(schema) or footer.metadata:
                    yield f"the schema of {file.relative_to(out)}"


def _stale_card(out: Path, facts: Facts, told: Fields) -> Iterator[str]:
    numbers = count(out, told.get("phrases", ()))
    found, made = _our_card(out), _card(out, facts, numbers, out, told)
    if found and not tokens.available():
        found, made = (card.without(text, tokens.SECTIONS) for text in (found, made))
    if not found or made != found:
        yield "the card README.md"
    info = out / _INFO
    if not info.is_file() or info.read_text("utf-8") != recipes.dataset_info(list(facts["alpaca"])):
        yield _INFO
    yield from (f"the picture {name}" for name in pictures.stale(out, numbers))


def _told(out: Path, train: object, fields: Mapping[str, object] | None) -> Fields:
    """Give what the card says that no program can know: the packaged fields; or the card's own, and those added."""
    found = _our_card(out)
    packaged = {"version": __version__, **card.read_fields(PACKAGED_FIELDS)} if train is None else {}
    before = packaged or (card.told_by(found) if found else {})
    return {**before, **card.checked(fields or {})}


def _card(folder: Folder, facts: Facts, numbers: Numbers, out: Path, told: Fields) -> str:
    """Write the card of the files in a folder, with what people wrote into the one that is there."""
    text = card.render(folder, facts, numbers, out.resolve().name, told)
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
    for name in [*([] if readme.exists() else ["data", _INFO]), *pictures.NAMES]:
        if (out / name).exists() and not pictures.shown(out / name):
            raise ReleaseError(
                f"{out / name} was not made by this command; name another folder, or write there with --force"
            )


def _sources(train: str | Iterable[str] | None, test: str | Iterable[str] | None) -> list[tuple[str, str]]:
    """Give every file with its split."""
    if train is None:
        train, test = PACKAGED["train"], PACKAGED["test"]
    return [("train", file) for file in find_files(train)] + [("test", file) for file in find_files(test or ())]


def work_of(
    configs: tuple[str, ...],
    shard_bytes: int,
    *,
    test_fraction: float = 0.0,
    phrases: tuple[str, ...] | None = None,
    **reading: Any,
) -> Work:
    """Take from the reading options what decides the bytes."""
    names = {"keys", "encoding", "max_line_bytes", "block_bytes", "refused"} & reading.keys()
    options = {name: reading[name] for name in names}
    keep = reading.get("on_problem") is not None
    return Work(configs, shard_bytes, test_fraction, keep_problems=keep, phrases=phrases, **options)


def _write_data(
    folder: Path,
    data: Path,
    sources: list[tuple[str, str]],
    how: _How,
    given: Given | None,
    phrases: tuple[str, ...],
    reading: dict[str, Any],
) -> tuple[dict[Path, Shard], Numbers]:
    """Write all shards; give them by their names, and what their stories count up to."""
    portions, shard_bytes = plan_portions(
        sources,
        encoding=reading.get("encoding"),
        shard_bytes=how.max_shard_size,
        most=most_portions(len(CONFIGS), 2 if how.test_fraction else 1),
    )
    # What may leave a feedback store is another question at every moment: what was made before is not kept.
    refused = {"refused": secrets.token_hex(8)} if given else {}
    work = work_of(tuple(CONFIGS), shard_bytes, test_fraction=how.test_fraction, phrases=phrases, **reading, **refused)
    outcomes = _make(folder, portions, work, how, given.refuse if given else None, reading)
    _refuse_empty_splits(portions, outcomes)
    pa.default_memory_pool().release_unused()  # the threads are gone, and what they were working with
    made = [shard for outcome in outcomes for shard in outcome.shards]
    numbers = _added_up(outcomes)
    if given:
        made += _write_feedback(folder, given.turns)
        numbers.add(turns_to_stories(given.turns), phrases)
    return name_shards(made, folder, data.joinpath), numbers


def _added_up(outcomes: list[Outcome]) -> Numbers:
    numbers = Numbers()
    for outcome in outcomes:
        numbers.merge(Numbers.from_dict(outcome.numbers))
    return numbers


def _make(
    folder: Path,
    portions: list[Portion],
    work: Work,
    how: _How,
    refuse: Refuse | None,
    reading: dict[str, Any],
) -> list[Outcome]:
    report = reading.get("report") or Report()
    with closing(_start(folder, portions, work, how, refuse=refuse, progress=reading.get("progress"))) as made:
        outcomes = list(tell(portions, made, folder, report, reading.get("on_problem")))
    report.close((one.file for portion in portions for one in portion.ranges), strict=not reading.get("on_problem"))
    return outcomes


def _start(folder: Path, portions: list[Portion], work: Work, how: _How, **told: Any) -> Generator[Outcome, None, None]:
    """Choose who makes the portions: this machine's threads, or a cluster."""
    manifest = Manifest(folder, work, how.shards_url)
    if how.engine == "ray":
        from . import cluster

        where: dict[str, Any] = {"manifest": manifest, "address": how.ray_address, "threads": how.threads}
        where["url"] = how.shards_url
        return cluster.make_portions(portions, work, folder, **where, **told)
    return make_portions(
        portions, work, folder, threads=how.threads or processors(), make=manifest.make_portion, **told
    )


def _refuse_empty_splits(portions: list[Portion], outcomes: list[Outcome]) -> None:
    found = {shard.split for outcome in outcomes for shard in outcome.shards}
    if "train" not in found:
        raise ReleaseError("no story is left for the train split; choose a smaller --test-fraction")
    if "test" not in found and any(portion.split == "test" for portion in portions):
        raise ReleaseError("the test sources hold no stories; name others, or leave --test out")


def _write_feedback(folder: Path, turns: pa.RecordBatch) -> Iterator[Shard]:
    """Write what the feedback store gives: a shard more of every config, and the configs that only it has."""
    stories = turns_to_stories(turns)
    for config, (schema, to_rows) in {**CONFIGS, **FEEDBACK_CONFIGS}.items():
        rows = to_rows(stories if config in CONFIGS else turns)
        if rows.num_rows:
            (folder / config).mkdir(parents=True, exist_ok=True)
            with ParquetFile(folder / config / "train.feedback.parquet", schema, by_content=True) as file:
                file.write(rows)
            yield Shard(config, "train", f"{config}/train.feedback.parquet")
