"""Portions of the sources become Parquet shards, several at a time, in an order and of bytes that no thread changes.

`make_portion` is the whole work on one portion, from its lines to its finished files, and needs nothing of any other
portion. `make_portions` runs it in threads: Arrow parses, encodes and compresses without the interpreter's lock.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import Queue
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from .exact import Keys, Problem
from .formats import CONFIGS
from .ranges import Portion, part_bytes
from .sources import BLOCK_BYTES, Block, read_blocks
from .stories import MAX_LINE_BYTES, MAX_PROBLEMS, STORIES, Refuse, Report, read_block
from .writing import ParquetFile

if TYPE_CHECKING:
    from .card.facts import RowsDigest
    from .card.numbers import Numbers

_AHEAD = 2
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Work:
    """How portions become shards: everything that decides the bytes, and nothing else.

    Attributes:
        configs: which rows to make.
        shard_bytes: how many bytes of JSONL a shard takes.
        test_fraction: the share of the stories that goes to the test split.
        keep_problems: whether every bad line is kept with its text, or only the first thousand of a portion without.
        keys, encoding, max_line_bytes, block_bytes: as `read_stories` takes them.
        refused: names what is left out on purpose, which is made again under another name.
        phrases: what the card counts in the answers, with all else that it tells; None is no card.
    """

    configs: tuple[str, ...]
    shard_bytes: int
    test_fraction: float = 0.0
    keep_problems: bool = False
    keys: Keys = STORIES
    encoding: str | None = None
    max_line_bytes: int = MAX_LINE_BYTES
    block_bytes: int = BLOCK_BYTES
    refused: str = ""
    phrases: tuple[str, ...] | None = None


class Shard(NamedTuple):
    """A finished file: its rows' config and split, where it is in the folder or its URL, for a card their digest."""

    config: str
    split: str
    file: str
    digest: str = ""


@dataclass
class Outcome:
    """What became of a portion; plain values, that go through JSON and come back.

    Attributes:
        shards: the files, in order.
        kept: how many stories there were.
        by_code: how many bad lines of each kind.
        lines: how many lines each range has.
        digest: of all its lines, to know them again.
        problems: the file of the bad lines, with numbers from the range's start; empty where there is none.
        numbers: what the stories count up to, as `Numbers.as_dict` gives it; empty where there is no card.
    """

    shards: list[Shard] = field(default_factory=list)
    kept: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    digest: str = ""
    problems: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The names of the shards, and that of the bad lines' file."""
        return [*(shard.file for shard in self.shards), *filter(None, [self.problems])]

    def within(self, folder: str) -> Outcome:
        """Give the outcome with its files named as they are seen from the folder above.

        >>> Outcome([Shard("chat", "train", "chat/a.parquet")]).within("7").files
        ['7/chat/a.parquet']
        """
        shards = [one._replace(file=f"{folder}/{one.file}") for one in self.shards]
        return replace(self, shards=shards, problems=self.problems and f"{folder}/{self.problems}")


class StoppedError(Exception):
    """Another thread failed, or nobody waits for the result any more."""


def share_out(stories: pa.RecordBatch, split: str, test_fraction: float) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Give the stories of each split; a hash of the question decides, so that new stories move no old one."""
    if not test_fraction:
        yield split, stories
        return
    chosen = np.array([_hash(question) < test_fraction for question in stories["question"].to_pylist()], bool)
    for name, mask in (("test", chosen), (split, ~chosen)):
        packed = pa.py_buffer(np.packbits(mask, bitorder="little"))
        yield name, stories.filter(pa.Array.from_buffers(pa.bool_(), len(mask), [None, packed]))


def _hash(question: str) -> float:
    """Turn a text into a number between 0 and 1, the same for ever.

    >>> _hash("なぜ鳴くの？") == _hash("なぜ鳴くの？"), 0 <= _hash("なぜ") < 1
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:6], "big") / 2**48


def make_portion(
    number: int,
    portion: Portion,
    work: Work,
    folder: Path,
    *,
    at_work: AbstractContextManager[object] | None = None,
    on_block: Callable[[Block], object] = lambda block: None,
    progress: Callable[[int], object] | None = None,
    refuse: Refuse | None = None,
) -> Outcome:
    """Make the shards of one portion, its bad lines beside them.

    Args:
        number: the portion's, which its files carry.
        portion: its lines.
        work: what to do with them.
        folder: where the files go, into a folder for each config.
        at_work: is held while there is something to compute; a semaphore bounds how many threads do.
        on_block: is called with every block before it is parsed; it may raise.
        progress: is called with the number of bytes that were read since the last call.
        refuse: says which stories are left out, as `read_stories` takes it.

    Raises:
        SourceError: when a source cannot be read.
    """
    at_work = at_work or nullcontext()
    outcome, digest, by_code, numbers = Outcome(), _Digest(), Counter[str](), _numbers(work)
    with ExitStack() as stack:
        problems = stack.enter_context(_Problems(folder / f"{number:05d}.problems", work.keep_problems))
        writers = stack.enter_context(_Writers(number, work, folder, at_work))
        for block in _numbered_blocks(portion, work, outcome, progress):
            on_block(block)
            with at_work:
                digest.add(block)
                result = read_block(block, work.keys, work.max_line_bytes, "stories" in work.configs, refuse)
                splits = list(share_out(result.stories, portion.split, work.test_fraction))
                if numbers:
                    numbers.add(result.stories, work.phrases or ())
            outcome.kept += result.stories.num_rows
            by_code.update(problem.code for problem in result.problems)
            problems.add(result.problems)
            writers.add(block, splits, portion)
    outcome.shards, outcome.problems, outcome.digest = writers.shards, problems.name, digest.hexdigest()
    outcome.by_code, outcome.numbers = dict(by_code), numbers.as_dict() if numbers else {}
    return outcome


def _numbers(work: Work) -> Numbers | None:
    if work.phrases is None:
        return None
    from .card.numbers import Numbers  # the card brings much that a conversion does not need

    return Numbers()


def digest_of(
    portion: Portion, work: Work, on_block: Callable[[Block], object], progress: Callable[[int], object] | None = None
) -> str:
    """Digest a portion's lines as `make_portion` does, without parsing them."""
    digest = _Digest()
    for block in _numbered_blocks(portion, work, Outcome(), progress):
        on_block(block)
        digest.add(block)
    return digest.hexdigest()


def _numbered_blocks(
    portion: Portion, work: Work, outcome: Outcome, progress: Callable[[int], object] | None
) -> Iterator[Block]:
    """Read the ranges one after the other, and note how many lines each has."""
    for one in portion.ranges:
        next_line = 1
        for block in read_blocks(
            one.file,
            encoding=work.encoding,
            max_line_bytes=work.max_line_bytes,
            block_bytes=work.block_bytes,
            progress=progress,
            start=one.start,
            stop=one.stop,
        ):
            yield block
            next_line = block.next_line
        outcome.lines.append(next_line - 1)


class _Digest:
    """A fast hash of lines and of where the sources end; no secret hangs on it."""

    def __init__(self) -> None:
        import xxhash

        self.hash = xxhash.xxh3_128()

    def add(self, block: Block) -> None:
        self.hash.update(f"{block.line} {block.byte} {block.size} {block.encoding} ".encode())
        self.hash.update(block.raw)

    def hexdigest(self) -> str:
        return self.hash.hexdigest()


class _Problems:
    """A file of bad lines, which is there only when there are some."""

    def __init__(self, path: Path, keep: bool) -> None:
        self.path, self.keep, self.written = path, keep, 0
        self.stream: IO[str] | None = None

    def __enter__(self) -> _Problems:
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.stream:
            self.stream.close()

    @property
    def name(self) -> str:
        return self.path.name if self.written else ""

    def add(self, problems: Sequence[Problem]) -> None:
        for problem in problems if self.keep else problems[: MAX_PROBLEMS - self.written]:
            self.stream = self.stream or self.path.open("w", encoding="ascii")
            raw = base64.b64encode(problem.raw if self.keep else b"").decode()
            self.stream.write(json.dumps(problem._replace(raw=raw)) + "\n")  # type: ignore[arg-type]
            self.written += 1


def read_problems(path: Path, lines_before: dict[str, int]) -> Iterator[Problem]:
    """Read a portion's bad lines, numbered as in the whole file."""
    with path.open(encoding="ascii") as stream:
        for line in stream:
            problem = Problem(*json.loads(line))
            before = lines_before.get(problem.file, 0)
            yield problem._replace(line=before + problem.line, raw=base64.b64decode(problem.raw))


class _Writers:
    """The files that a portion is being written to: one a config and split, each in a thread of its own."""

    def __init__(self, number: int, work: Work, folder: Path, at_work: AbstractContextManager[object]) -> None:
        self.number, self.work, self.folder, self.at_work = number, work, folder, at_work
        self.open: dict[tuple[str, str], _Writer] = {}
        self.shards: list[Shard] = []
        self.part = self.filled = 0

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._finish(failed=kind is not None)

    def add(self, block: Block, splits: Sequence[tuple[str, pa.RecordBatch]], portion: Portion) -> None:
        """Write one block's stories; a new shard begins where this one would be too large."""
        limit = part_bytes(portion, self.part, self.work.shard_bytes)
        if limit is not None and self.filled and self.filled + block.size > limit:
            self._finish(failed=False)
            self.part, self.filled = self.part + 1, 0
        self.filled += block.size
        for split, stories in splits:
            for config in self.work.configs if stories.num_rows else ():
                if (config, split) not in self.open:
                    path, digest = self._path(config, split), _rows_digest(self.work)
                    self.open[config, split] = _Writer(path, config, self.at_work, digest)
                self.open[config, split].put(stories)

    def _path(self, config: str, split: str) -> Path:
        path = self.folder / config / f"{split}.{self.number:05d}.{self.part:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _finish(self, failed: bool) -> None:
        # All are told before any is waited for.
        for writer in self.open.values():
            writer.queue.put(None)
        failures = [failure for writer in self.open.values() if (failure := writer.join())]
        finished, self.open = self.open, {}
        if failed:
            return
        if failures:
            raise failures[0]
        for (config, split), writer in finished.items():
            digest = writer.digest.hexdigest() if writer.digest else ""
            self.shards.append(Shard(config, split, str(writer.path.relative_to(self.folder)), digest))


def _rows_digest(work: Work) -> RowsDigest | None:
    if work.phrases is None:
        return None
    from .card.facts import RowsDigest

    return RowsDigest()


class _Writer:
    """Maps and writes the batches that are put into its queue, up to None."""

    def __init__(
        self, path: Path, config: str, at_work: AbstractContextManager[object], digest: RowsDigest | None
    ) -> None:
        self.path, self.config, self.at_work, self.digest = path, config, at_work, digest
        self.queue: Queue[pa.RecordBatch | None] = Queue(_AHEAD)
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="write_shard", daemon=True)
        self.thread.start()

    def put(self, stories: pa.RecordBatch) -> None:
        if self.failure:
            raise self.failure
        self.queue.put(stories)

    def join(self) -> BaseException | None:
        self.thread.join()
        return self.failure

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:  # whatever it is, the one who puts must hear of it
            self.failure = error
            while self.queue.get() is not None:
                pass  # so that nobody waits for a free place

    def _write(self) -> None:
        schema, to_rows = CONFIGS[self.config]
        # By its path: what Arrow writes to a stream of Python's waits for the interpreter.
        with ParquetFile(str(self.path), schema, by_content=True) as file:
            while (stories := self.queue.get()) is not None:
                with self.at_work:
                    file.write(rows := to_rows(stories))
                    if self.digest:
                        self.digest.add(rows)
            with self.at_work:
                file.flush()


def processors() -> int:
    """Say how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_portions(
    portions: Sequence[Portion],
    work: Work,
    folder: Path,
    *,
    threads: int,
    progress: Callable[[int], object] | None = None,
    refuse: Refuse | None = None,
    make: Callable[..., Outcome] = make_portion,
) -> Generator[Outcome, None, None]:
    """Make all portions in threads; give the outcomes in order.

    Args:
        portions: what to make.
        work: how to make it.
        folder: where the files go.
        threads: how many may compute at the same time.
        progress: is called with the number of bytes that were read since the last call.
        refuse: says which stories are left out, as `read_stories` takes it.
        make: what to do with a portion, called as `make_portion` is.

    Raises:
        SourceError: when a source cannot be read.
        OSError: when a shard cannot be written.
    """
    at_work, stopped, telling = threading.BoundedSemaphore(threads), threading.Event(), threading.Lock()

    def on_block(block: Block) -> None:
        if stopped.is_set():
            raise StoppedError

    def tell_progress(size: int) -> None:
        with telling:
            if progress:
                progress(size)

    how: dict[str, Any] = {"at_work": at_work, "on_block": on_block, "progress": tell_progress, "refuse": refuse}
    tasks = [partial(make, number, portion, work, folder, **how) for number, portion in enumerate(portions)]
    yield from in_threads(tasks, portions_at_once(threads, work), stopped)


def portions_at_once(threads: int, work: Work) -> int:
    """Say how many portions keep so many processors busy; more at a time would only take more memory.

    Each has a thread that reads and one for each config.
    """
    return -(-threads // len(work.configs))


def in_threads(
    tasks: Sequence[Callable[[], _Result]], threads: int, stopped: threading.Event
) -> Generator[_Result, None, None]:
    """Call functions, so many at a time and in order; give their results in order, or raise the first failure.

    The threads are daemons, for one may wait for standard input when the user presses Ctrl-C.
    """
    results: list[Future[_Result]] = [Future() for _ in tasks]
    waiting, next_one = iter(zip(tasks, results, strict=True)), threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        while not stopped.is_set():
            with next_one:
                task, result = next(waiting, (None, None))
            if task is None or result is None:
                return
            try:
                result.set_result(task())
            except BaseException as error:
                failures.append(error)
                stopped.set()
                result.set_exception(error)

    workers = [threading.Thread(target=run, name="make_portion", daemon=True) for _ in range(min(threads, len(tasks)))]
    for worker in workers:
        worker.start()
    try:
        for number, result in enumerate(results):
            try:
                yield result.result()
            except StoppedError:
                raise failures[0] from None
            results[number] = Future()  # what was given away takes no memory here
    finally:
        stopped.set()
        for worker in workers:
            worker.join(timeout=1)


def tell(
    portions: Sequence[Portion],
    outcomes: Iterable[Outcome],
    folder: Path,
    report: Report,
    on_problem: Callable[[Problem], object] | None,
) -> Iterator[Outcome]:
    """Fill the report with what became of the portions, in order, and tell the bad lines by their numbers."""
    lines_before: dict[str, int] = {}
    for portion, outcome in zip(portions, outcomes, strict=True):
        first = portion.ranges[0]
        lines_before = {first.file: lines_before.get(first.file, 0)} if first.start else {}
        for problem in read_problems(folder / outcome.problems, lines_before) if outcome.problems else ():
            if on_problem:
                on_problem(problem)
            report.problems += [problem._replace(raw=b"")][: MAX_PROBLEMS - len(report.problems)]
        report.count(outcome.kept, outcome.by_code)
        lines_before[first.file] = lines_before.get(first.file, 0) + outcome.lines[0]
        yield outcome


def name_shards(shards: Iterable[Shard], folder: Path, place: Callable[[str], Path]) -> dict[Path, Shard]:
    """Give finished shards the names by which `datasets` knows their split and order, in a config's place.

    What lies behind a URL gets its name later.
    """
    groups: dict[tuple[str, str], list[Shard]] = {}
    for shard in shards:
        groups.setdefault((shard.config, shard.split), []).append(shard)
    named = {}
    for (config, split), group in groups.items():
        place(config).mkdir(parents=True, exist_ok=True)
        for number, shard in enumerate(group):
            name = place(config) / f"{split}-{number:05d}-of-{len(group):05d}.parquet"
            if "://" not in shard.file:
                _link(folder / shard.file, name)
            named[name] = shard
    return named


def _link(file: Path, name: Path) -> None:
    """Give a second name: with the first one, a stopped build still finds what was finished."""
    name.unlink(missing_ok=True)
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        file.rename(name)
