"""Builds a release with threads and on a Ray cluster of single-core nodes, in turn, and goes on from there on paper.

    pip install '.[bench,ray]'
    python tests/benchmarks/ray_scale.py [--gb 1 4] [--runs 1] [--nodes 100] [--cores 16] [--tb 10]

Whole processes; the cluster runs already. The shards' part of a build is told apart from the rest: the first one is
what a cluster shares, the second one, mostly the card's tokens and pictures, the driver does alone. Processor seconds
are of all processes, the cluster's own included. The machine may be busy: look at the ratios, and at the scaling only
where one and two cores differ with threads, too.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scale import generate_large

from cats_alpaca.cluster import cores_each
from cats_alpaca.formats import CONFIGS
from cats_alpaca.ranges import LARGEST_BYTES, most_portions

BUILD = """
import sys, time
from cats_alpaca import release
answers, sys.stdout = sys.stdout, sys.stderr
making = release._write_data
def timed(*arguments):
    started = time.monotonic()
    made = making(*arguments)
    print(time.monotonic() - started, file=answers, flush=True)
    return made
release._write_data = timed
where = {"engine": "ray", "ray_address": sys.argv[3]} if sys.argv[3] else {}
release.build(sys.argv[1], out=sys.argv[2], max_shard_size=50_000_000, **where)
"""


class Figures(NamedTuple):
    """Of one build: seconds of all, of the shards alone, of processors."""

    seconds: float
    shards: float
    processor: float


class Meter(threading.Thread):
    """Sums the processor seconds of all processes that this one started, and of theirs, while it runs.

    What has ended counts as it was seen last, which is at most a fifth of a second before: nobody waits for the workers
    that Ray kills, so the system adds them to no sum of its own.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[tuple[int, int], int] = {}
        self.stopped = threading.Event()
        self._look()
        self.before = sum(self.seen.values())

    def run(self) -> None:
        """Look again and again."""
        while not self.stopped.wait(0.2):
            self._look()

    def stop(self) -> float:
        """Give the seconds since the start."""
        self.stopped.set()
        self.join()
        self._look()
        return (sum(self.seen.values()) - self.before) / os.sysconf("SC_CLK_TCK")

    def _look(self) -> None:
        found = {stat.process: stat for stat in _processes()}
        ours = {os.getpid()} | {pid for pid, stat in found.items() if (pid, stat.started) in self.seen}
        while more := {pid for pid, stat in found.items() if stat.parent in ours} - ours:
            ours |= more
        self.seen |= {(pid, found[pid].started): found[pid].ticks for pid in ours - {os.getpid()}}


class Stat(NamedTuple):
    """A process: its parent, and when it started and how long it computed, in clock ticks."""

    process: int
    parent: int
    started: int
    ticks: int


def _processes() -> Iterator[Stat]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = file.read_text().rpartition(")")[2].split()  # proc(5): the third field is the first one here
            yield Stat(int(file.parent.name), int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))


def build(source: Path, out: Path, cores: int, address: str) -> Figures:
    """Run a build to its end, on so many cores or on a cluster."""
    allowed = sorted(os.sched_getaffinity(0))[: None if address else cores]
    meter, started = Meter(), time.monotonic()
    meter.start()
    process = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(out), address],
        stdout=-1,
        stderr=-3,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    seconds = time.monotonic() - started
    processor = meter.stop()
    shutil.rmtree(out)
    return Figures(seconds, float(process.stdout), processor)


def cluster_of(nodes: int) -> Any:
    """Start so many nodes of one core, beside a head of none."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1)
    return cluster


def compare(source: Path, folder: Path, cores: int, runs: int) -> dict[str, Figures]:
    """Build with threads and with Ray, in turn; print and give the medians."""
    found: dict[str, list[Figures]] = {"threads": [], "ray": []}
    for _ in range(runs):
        found["threads"].append(build(source, folder / "release", cores, ""))
        cluster = cluster_of(cores)  # not before: an idle one takes its share, too
        found["ray"].append(build(source, folder / "release", cores, cluster.address))
        cluster.shutdown()
    medians = {
        engine: Figures(*map(statistics.median, zip(*all_of_it, strict=True))) for engine, all_of_it in found.items()
    }
    for engine, figures in medians.items():
        ratios = (mine / theirs for mine, theirs in zip(figures, medians["threads"], strict=True))
        columns = " | ".join(f"{value:.1f} | {ratio:.2f}" for value, ratio in zip(figures, ratios, strict=True))
        print(f"| {source.stat().st_size / 1e9:.2f} | {cores} | {engine} | {columns} |", flush=True)
    return medians


def _more(medians: dict[str, Figures]) -> float:
    return medians["ray"].seconds / medians["threads"].seconds - 1


def _alone(medians: dict[str, Figures]) -> float:
    return medians["ray"].seconds - medians["ray"].shards


def a_gb_more(small: Figures, large: Figures, gb: float) -> Figures:
    """Tell what each GB takes that the larger source has more: what every build takes once is not in it."""
    return Figures(*((much - little) / gb for little, much in zip(small, large, strict=True)))


def on_paper(one: Figures, two: Figures, asked: argparse.Namespace) -> None:
    """Go on from what a GB takes one and two workers to many nodes; what the driver does alone comes on top of it."""
    if min(one.shards, two.shards) <= 0:
        print("the smaller source took longer: the machine is too busy, or the sizes are too near each other")
        return
    portions = max(math.ceil(asked.tb * 1e12 / LARGEST_BYTES), most_portions(len(CONFIGS), 1))
    busy = min(portions * cores_each([asked.cores] * asked.nodes, portions, len(CONFIGS)), asked.nodes * asked.cores)
    scaling = one.shards / two.shards
    print(f"a GB more of shards takes one worker {one.shards:.1f} s, two workers 1/{scaling:.2f} of that;", end=" ")
    print(f"{one.processor:.1f} and {two.processor:.1f} processor seconds of all")
    for what, cores in ((f"{portions} shards a config", busy), ("if all cores were busy", asked.nodes * asked.cores)):
        minutes = one.shards * asked.tb * 1000 / 60 / cores / min(scaling / 2, 1)
        print(f"{asked.tb} TB, {asked.nodes} nodes of {asked.cores} cores, {what}: {cores:,} cores busy,", end=" ")
        print(f"{minutes:.0f} minutes for the shards")


def main() -> None:
    """Generate, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--tb", type=float, default=10)
    asked = parser.parse_args()
    found, more = dict[float, list[Figures]](), list[str]()
    alone = list[str]()
    print("| GB | cores | | seconds | × threads | shards' seconds | × threads | processor s | × threads |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stories.jsonl")
        for gb in asked.gb:
            generate_large(source, gb * 1e9)
            both = [compare(source, Path(folder), cores, asked.runs) for cores in (1, 2)]
            found[gb] = [medians["ray"] for medians in both]
            more += [f"{gb} GB, {n}: {_more(medians):+.0%}" for n, medians in enumerate(both, start=1)]
            alone += [f"{gb} GB, {n}: {_alone(medians):.1f}" for n, medians in enumerate(both, start=1)]
    print(f"\nRay's seconds against one machine's, by cores: {'; '.join(more)}")
    print(f"Seconds of the driver alone: {'; '.join(alone)}")
    small, large = min(asked.gb), max(asked.gb)
    if small == large:
        return  # what a build takes once cannot be told from what a GB takes
    one, two = (a_gb_more(*both, large - small) for both in zip(found[small], found[large], strict=True))
    on_paper(one, two, asked)


if __name__ == "__main__":
    main()
