"""Converts generated stories of several sizes into a folder, on one core and on two, beside the limit and our peers.

    pip install '.[bench]'
    python tests/benchmarks/scale.py [--gb 0.25 1 4 8] [--cores 1 2] [--runs 3] [--plot scale.png] [--build]

Whole processes, imports included, are run in turn and kept to so many cores by the system. All write Parquet with zstd
at level 1. The limit is (processor seconds of parsing alone + processor seconds of writing alone) / cores, both
measured in this run on the smallest size, without start. `--build` adds a release of four configs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from convert import DUCKDB, OURS, POLARS, Figures, generate

PYARROW = """
# No check of anything: what is no story breaks it, or goes through.
import sys
import pyarrow as pa, pyarrow.json as json, pyarrow.parquet as parquet
schema = pa.schema([(name, pa.string()) for name in ("question", "context", "answer")])
options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
reader = json.open_json(sys.argv[1], json.ReadOptions(block_size=4 << 20), options)
with parquet.ParquetWriter(sys.argv[2], schema, compression="zstd", compression_level=1) as writer:
    for batch in reader:
        writer.write_batch(batch)
"""
BUILD = "from cats_alpaca.cli import main\nimport sys\nmain(['build', '--train', sys.argv[1], '--out', sys.argv[2]])"
PEERS = {
    "cats_alpaca": OURS,
    "polars": POLARS.replace('compression="zstd"', 'compression="zstd", compression_level=1'),
    "duckdb": DUCKDB.replace("COMPRESSION zstd", "COMPRESSION zstd, COMPRESSION_LEVEL 1"),
    "pyarrow, unchecked": PYARROW,
}
ALONE = """
import os, sys, time
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
from cats_alpaca.formats import CONFIGS
from cats_alpaca.sources import read_blocks
from cats_alpaca.stories import STORIES, read_block
from cats_alpaca.writing import ParquetFile
schema, to_rows = CONFIGS["alpaca"]
parsing = writing = 0.0
with ParquetFile(sys.argv[2], schema, by_content=True) as file:
    blocks = read_blocks(sys.argv[1], encoding=None, max_line_bytes=1 << 24, block_bytes=4 << 20)
    while True:
        started = time.process_time()
        block = next(blocks, None)
        rows = to_rows(read_block(block, STORIES, 1 << 24, False).stories) if block else None
        parsed = time.process_time()
        if rows is None:
            break
        file.write(rows)
        parsing, writing = parsing + parsed - started, writing + time.process_time() - parsed
print(parsing, writing)
"""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    gb: float
    cores: int
    seconds: float
    processor: float
    memory: float
    limit: float


def generate_large(file: Path, size: float) -> None:
    """Write a quarter of a gigabyte, again and again: no compressor looks as far back as that."""
    generate(file, min(size, 0.25e9), bad=False, contexts=True)
    once = file.read_bytes()
    with file.open("ab") as stream:
        for _ in range(round(size / len(once)) - 1):
            stream.write(once)


def measure(code: str, cores: int, *arguments: str) -> Figures:
    """Run a process to its end, on so many cores."""
    environment = {**os.environ, "POLARS_MAX_THREADS": str(cores)}
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=-3,
        stderr=-3,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {code}")
    return Figures(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def remove(target: Path) -> None:
    """Remove a file or a folder; to free the old one is no part of the work."""
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)


def seconds_alone(source: Path, target: Path) -> tuple[float, float]:
    """Measure parsing and writing by themselves: processor seconds a GB."""
    done = subprocess.run([sys.executable, "-c", ALONE, str(source), str(target)], capture_output=True, check=True)
    parsing, writing = map(float, done.stdout.split())
    gb = source.stat().st_size / 1e9
    return parsing / gb, writing / gb


def compare(source: Path, folder: Path, cores: int, runs: int, alone: float, codes: dict[str, str]) -> list[Row]:
    """Run all in turn, and print their lines of the table."""
    found: dict[str, list[Figures]] = {name: [] for name in codes}
    for _ in range(runs):
        for name, code in codes.items():
            target = folder / "rows"
            remove(target)
            ours = code in (OURS, BUILD)
            found[name].append(measure(code, cores, str(source), f"{target}/" if ours else str(target)))
            remove(target)
    gb = source.stat().st_size / 1e9
    rows = []
    for name, theirs in found.items():
        seconds, processor, memory = (statistics.median(column) for column in zip(*theirs, strict=True))
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(theirs, found["cats_alpaca"], strict=True))
        limit = alone * gb / cores
        rows.append(Row(name, gb, cores, seconds, processor, memory, limit))
        columns = f"{seconds:.2f} | {ratio:.2f} | {limit / seconds:.2f} | {processor:.2f}"
        print(f"| {gb:.2f} | {cores} | {name} | {columns} | {gb * 1000 / seconds:.0f} | {memory:.0f} |", flush=True)
    return rows


def plot(rows: list[Row], file: str) -> None:
    """Draw throughput and memory against size."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    names = list(dict.fromkeys(row.name for row in rows))
    for number, name in enumerate(names):
        for cores, style in zip(sorted({row.cores for row in rows}), (":", "-", "--"), strict=False):
            ours = sorted((row for row in rows if (row.name, row.cores) == (name, cores)), key=lambda row: row.gb)
            label, sizes = f"{name}, {cores} core{'s' * (cores > 1)}", [row.gb for row in ours]
            how = {"color": f"C{number}", "linestyle": style, "marker": "o", "label": label}
            axes[0].plot(sizes, [row.gb * 1000 / row.seconds for row in ours], **how)
            axes[1].plot(sizes, [row.memory for row in ours], **how)
    for axis, title in zip(axes, ("MB of JSONL a second", "peak memory, MB"), strict=True):
        axis.set(title=title, xlabel="GB of JSONL", xscale="log", ylim=(0, None))
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    axes[1].set(yscale="log", ylim=(50, None))
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Generate, run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.25, 1, 4, 8])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--plot", metavar="PNG")
    parser.add_argument("--build", action="store_true")
    asked = parser.parse_args()
    codes = {**PEERS, **({"cats_alpaca build": BUILD} if asked.build else {})}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stories.jsonl")
        generate_large(source, min(asked.gb) * 1e9)
        alone = [seconds_alone(source, Path(folder, "rows")) for _ in range(asked.runs)]
        parsing, writing = (statistics.median(column) for column in zip(*alone, strict=True))
        print(f"alone, processor seconds a GB: parsing {parsing:.2f}, writing {writing:.2f}\n")
        print("| GB | cores | | seconds | × ours | of the limit | processor s | MB/s | peak MB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for gb in sorted(asked.gb):
            generate_large(source, gb * 1e9)
            for cores in asked.cores:
                rows += compare(source, Path(folder), cores, asked.runs, parsing + writing, codes)
    if asked.plot:
        plot(rows, asked.plot)


if __name__ == "__main__":
    main()
