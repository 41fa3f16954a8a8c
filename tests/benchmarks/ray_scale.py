"""Builds a release with threads and on a Ray cluster of single-core nodes, in turn, and goes on from there on paper.

    pip install '.[bench,ray]'
    python tests/benchmarks/ray_scale.py [--gb 1 4] [--runs 1] [--nodes 100] [--cores 16] [--tb 10]

Whole processes; the cluster runs already. The shards' part and the card's part of a build are told apart: the first one
is what a cluster shares, the second one the driver does alone. Processor seconds of Ray are too few: those of workers
that Ray kills in the end are left out. The machine may be busy: look at the ratios, and at the scaling only where one
and two cores differ with threads, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from scale import generate_large

from cats_alpaca.cluster import cores_each
from cats_alpaca.formats import CONFIGS
from cats_alpaca.ranges import most_portions

BUILD = """
import sys, time
from cats_alpaca import release
answers, sys.stdout = sys.stdout, sys.stderr
making = release._write_data
def timed(*arguments):
    started = time.monotonic()
    making(*arguments)
    print(time.monotonic() - started, file=answers, flush=True)
release._write_data = timed
where = {"engine": "ray", "ray_address": sys.argv[3]} if sys.argv[3] else {}
release.build(sys.argv[1], out=sys.argv[2], max_shard_size=50_000_000, **where)
"""


class Figures(NamedTuple):
    """Of one build: seconds of all, of the shards alone, of processors."""

    seconds: float
    shards: float
    processor: float


def build(source: Path, out: Path, cores: int, address: str, raylets: list[int]) -> Figures:
    """Run a build to its end, on so many cores or on a cluster."""
    allowed = sorted(os.sched_getaffinity(0))[: None if address else cores]
    before, started = _seconds_of(raylets), time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(out), address],
        stdout=-1,
        stderr=-3,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    seconds = time.monotonic() - started
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    time.sleep(3)  # the nodes take note of what their workers took when these are gone
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime + _seconds_of(raylets) - before
    shutil.rmtree(out)
    return Figures(seconds, float(process.stdout), processor)


def _seconds_of(processes: list[int]) -> float:
    """Sum the processor seconds of processes and of the children that they waited for."""
    stats = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(sum(map(int, stat[11:15])) for stat in stats) / os.sysconf("SC_CLK_TCK")


def cluster_of(nodes: int) -> Any:
    """Start so many nodes of one core, beside a head of none."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1)
    return cluster


def raylets_of(cluster: Any) -> list[int]:
    """Give the processes that run the nodes' workers."""
    return [
        one.process.pid for node in [cluster.head_node, *cluster.worker_nodes] for one in node.all_processes["raylet"]
    ]


def compare(source: Path, folder: Path, cores: int, runs: int) -> dict[str, Figures]:
    """Build with threads and with Ray, in turn; print and give the medians."""
    cluster = cluster_of(cores)
    found: dict[str, list[Figures]] = {"threads": [], "ray": []}
    for _ in range(runs):
        for engine, all_of_it in found.items():
            where = (cluster.address, raylets_of(cluster)) if engine == "ray" else ("", [])
            all_of_it.append(build(source, folder / "release", cores, *where))
    cluster.shutdown()
    medians = {
        engine: Figures(*map(statistics.median, zip(*all_of_it, strict=True))) for engine, all_of_it in found.items()
    }
    for engine, figures in medians.items():
        ratios = (mine / theirs for mine, theirs in zip(figures, medians["threads"], strict=True))
        columns = " | ".join(f"{value:.1f} | {ratio:.2f}" for value, ratio in zip(figures, ratios, strict=True))
        print(f"| {source.stat().st_size / 1e9:.2f} | {cores} | {engine} | {columns} |", flush=True)
    return medians


def a_gb_more(small: Figures, large: Figures, gb: float) -> Figures:
    """Tell what each GB takes that the larger source has more: what every build takes once is not in it."""
    return Figures(*((much - little) / gb for little, much in zip(small, large, strict=True)))


def on_paper(one: Figures, two: Figures, asked: argparse.Namespace) -> None:
    """Go on from what a GB takes one and two workers to many nodes; what the driver does alone gets no shorter."""
    portions = most_portions(len(CONFIGS), 1)
    busy = min(portions * cores_each([asked.cores] * asked.nodes, portions, len(CONFIGS)), asked.nodes * asked.cores)
    scaling, card = one.shards / two.shards, (one.seconds - one.shards) * asked.tb / 3.6
    print(f"\na GB more of shards takes one worker {one.shards:.1f} s, two workers 1/{scaling:.2f} of that")
    for what, cores in (("a release of 100 files", busy), ("if all cores were busy", asked.nodes * asked.cores)):
        shards = one.shards * asked.tb / 3.6 / cores / min(scaling / 2, 1)
        print(f"{asked.tb} TB, {asked.nodes} nodes of {asked.cores} cores, {what}: {cores:,} cores busy,", end=" ")
        print(f"{shards:.1f} h; then {card:.1f} h for the card, by the driver alone")


def main() -> None:
    """Generate, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--tb", type=float, default=10)
    asked = parser.parse_args()
    found: dict[float, list[Figures]] = {}
    print("| GB | cores | | seconds | × threads | shards' seconds | × threads | processor s | × threads |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stories.jsonl")
        for gb in asked.gb:
            generate_large(source, gb * 1e9)
            found = {gb: [compare(source, Path(folder), cores, asked.runs)["ray"] for cores in (1, 2)], **found}
    small, large = min(asked.gb), max(asked.gb)
    if small == large:
        return  # what a build takes once cannot be told from what a GB takes
    one, two = (a_gb_more(*both, large - small) for both in zip(found[small], found[large], strict=True))
    on_paper(one, two, asked)


if __name__ == "__main__":
    main()
