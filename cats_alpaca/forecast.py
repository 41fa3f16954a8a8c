"""What a build would take, before it is begun: counted from the sources' sizes, measured on a sample of them."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .card.pictures import NAMES
from .cluster import cores_each
from .exact import Keys
from .formats import CONFIGS
from .ranges import SHARD_BYTES, Portion, Range, most_portions, plan_portions
from .sharding import Work, make_portion, portions_at_once, processors
from .sources import BLOCK_BYTES, find_files, look_at, read_blocks
from .stories import MAX_LINE_BYTES, STORIES

_SPOTS = 4
_SPOT_BYTES = 2 * BLOCK_BYTES
_PARALLEL = 0.85  # of the processors' time is used: the README's table, processor seconds by seconds by two


@dataclass(frozen=True)
class Estimate:
    """What a release of some sources would take.

    Attributes:
        source_bytes: of all sources, decompressed.
        sampled_bytes: how much of them the other figures come from.
        rows: stories, those of all splits.
        rejected: bad lines.
        shards: files of one config.
        files: of the whole release, with its card, its pictures and `dataset_info.json`.
        release_bytes: of all files.
        largest_bytes: of the largest file, about.
        seconds: of the whole build, on so many processors.
        memory: bytes at the peak, of one machine.
        busy_cores: how many can compute at the same time; a cluster may have more of them than portions take.
    """

    source_bytes: int
    sampled_bytes: int
    rows: int
    rejected: int
    shards: int
    files: int
    release_bytes: int
    largest_bytes: int
    seconds: float
    memory: int
    busy_cores: int = 1


def estimate(
    sources: str | Iterable[str],
    *,
    cores: int | None = None,
    nodes: int | None = None,
    max_shard_size: int = SHARD_BYTES,
    test_fraction: float = 0.0,
    keys: Keys = STORIES,
    encoding: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Estimate:
    """Estimate what `build` would take and make, from a few MB of the sources that are built here and now.

    >>> from cats_alpaca.stories import PACKAGED
    >>> found = estimate(PACKAGED["train"])
    >>> found.rows, found.rejected, found.shards, found.files
    (557, 0, 1, 8)

    Args:
        sources: one or several paths, patterns or URLs, but not standard input.
        cores: how many processors the build will have; None is those of this machine.
        nodes: how many machines with so many cores a Ray cluster will have; None is no cluster.
        max_shard_size: how many bytes of JSONL become one shard.
        test_fraction: the share of the stories that becomes the test split.
        keys: what the question, the answer and the context are called.
        encoding: of files without a byte-order mark.
        max_line_bytes: a longer line is a bad line.

    Raises:
        SourceError: when a source cannot be opened or read.
    """
    files = find_files(sources)
    splits = 2 if test_fraction else 1
    portions, shard_bytes = plan_portions(
        [("train", file) for file in files],
        encoding=encoding,
        shard_bytes=max_shard_size,
        most=most_portions(len(CONFIGS), splits),
    )
    work = Work(tuple(CONFIGS), shard_bytes, test_fraction, False, keys, None, max_line_bytes, phrases=())
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder, "sample.jsonl")
        taking = _take(portions, sample, work, encoding)
        found = _scaled(portions, splits, cores or processors(), work, sample, taking)
        return found if nodes is None else _on_nodes(found, portions, nodes, cores or processors())


def _on_nodes(found: Estimate, portions: Sequence[Portion], nodes: int, cores: int) -> Estimate:
    """Turn the plan of one machine into that of a cluster: in waves of portions."""
    each = cores_each([cores] * nodes, len(portions), len(CONFIGS))
    at_once = min(len(portions), nodes * (cores // each))
    waves = -(-len(portions) // at_once)
    per_byte = found.seconds * cores / found.source_bytes
    seconds = waves * max(portion.size for portion in portions) * per_byte / each
    here = min(portions_at_once(cores, Work(tuple(CONFIGS), 0)), len(portions))
    there = -(-at_once // nodes)
    memory = round(found.memory * max(there / here, 1))
    return replace(found, seconds=seconds, memory=memory, busy_cores=at_once * each)


def _take(portions: Sequence[Portion], sample: Path, work: Work, encoding: str | None) -> tuple[float, float]:
    """Copy some MB from several places into one file; tell what that takes a byte, and how compressed they are."""
    started = time.process_time()
    taken = stored = 0
    with sample.open("wb") as stream:
        for portion in portions[:: -(-len(portions) // _SPOTS)]:
            one, read = portion.ranges[0], list[int]()
            size = 0
            for block in read_blocks(
                one.file,
                encoding=encoding,
                max_line_bytes=work.max_line_bytes,
                block_bytes=work.block_bytes,
                progress=read.append,
                start=one.start,
                stop=one.stop,
            ):
                stream.write(block.raw.decode(block.encoding, "replace").encode() + b"\n" * block.cut)
                size += block.size
                if size >= _SPOT_BYTES:
                    break
            compressed = look_at(one.file, encoding).compressed
            taken, stored = taken + size, stored + (sum(read) or size if compressed else size)
    return (time.process_time() - started) / max(taken, 1), taken / max(stored, 1)


def _scaled(
    portions: Sequence[Portion], splits: int, cores: int, work: Work, sample: Path, taking: tuple[float, float]
) -> Estimate:
    seconds_to_read, inflated = taking
    sampled, source_bytes = max(sample.stat().st_size, 1), round(_stored_bytes(portions) * inflated)
    memory, started = _peak(), time.process_time()
    outcome = make_portion(0, Portion("train", (Range(str(sample)),), sampled), work, sample.parent)
    seconds = (time.process_time() - started) / sampled + seconds_to_read
    made = sum((sample.parent / shard.file).stat().st_size for shard in outcome.shards)
    largest = max(((sample.parent / shard.file).stat().st_size for shard in outcome.shards), default=0)
    shards = splits * sum(min(-(-portion.size // work.shard_bytes) or 1, portion.files) for portion in portions)
    at_once = min(portions_at_once(cores, work), len(portions))
    return Estimate(
        source_bytes=source_bytes,
        sampled_bytes=sampled,
        rows=round(outcome.kept / sampled * source_bytes),
        rejected=round(sum(outcome.by_code.values()) / sampled * source_bytes),
        shards=shards,
        files=shards * len(work.configs) + 2 + len(NAMES),
        release_bytes=round(made / sampled * source_bytes),
        largest_bytes=round(largest / sampled * min(work.shard_bytes, source_bytes)),
        seconds=seconds * source_bytes / cores / _PARALLEL,
        memory=memory + at_once * (_peak() - memory),
        busy_cores=cores,
    )


def _stored_bytes(portions: Sequence[Portion]) -> int:
    sizes = {one.file: look_at(one.file, None).size or 0 for portion in portions for one in portion.ranges}
    return sum(sizes.values())


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
