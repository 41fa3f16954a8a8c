"""Converts the same generated stories with us and with our peers, in turn, and prints medians and ratios.

    pip install '.[bench]'
    python tests/benchmarks/convert.py [--gb 0.25] [--runs 5] [--only parquet|json] [--bad]

Whole processes are timed, imports included, each peer in its usual way with a declared schema; Parquet is zstd, at
each one's own level. Only the ratios mean something: the machine may be busy with other things. `--bad` makes the
middle line a bad one, which only our reader can leave out (peers are left out then).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

LETTERS = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
    "アイウエオカキクケコ猫水食病院朝夜年月日人家族先生様子元気"
)

PANDAS = """
# What the write-up of 2023 does, in our words: read, map row by row, dump with indent.
import json, sys
import pandas
frame = pandas.read_json(sys.argv[1], lines=True)
rows = []
for _, record in frame.iterrows():
    rows.append({"instruction": record["question"], "input": "", "output": record["answer"]})
with open(sys.argv[2], "w") as file:
    json.dump(rows, file, indent=4)
"""
DATASETS = """
import sys
from datasets import Features, Value, load_dataset
text = Value("string")
def to_alpaca(batch):
    return {"instruction": batch["question"], "input": [c or "" for c in batch["context"]], "output": batch["answer"]}
features = Features(question=text, answer=text, context=text)
rows = load_dataset("json", data_files=sys.argv[1], features=features, split="train", cache_dir=sys.argv[2] + ".cache")
rows.map(to_alpaca, batched=True, remove_columns=rows.column_names).to_parquet(sys.argv[2])
"""
POLARS = """
import sys
import polars as pl
schema = {"question": pl.String, "context": pl.String, "answer": pl.String}
question, context, answer = map(pl.col, schema)
rows = (question.alias("instruction"), context.fill_null("").alias("input"), answer.alias("output"))
pl.scan_ndjson(sys.argv[1], schema=schema).select(*rows).sink_parquet(sys.argv[2], compression="zstd")
"""
DUCKDB = """
import sys
import duckdb
columns = "{question: 'VARCHAR', answer: 'VARCHAR', context: 'VARCHAR'}"
source = f"read_json('{sys.argv[1]}', format='newline_delimited', columns={columns})"
query = f"SELECT question AS instruction, coalesce(context, '') AS input, answer AS output FROM {source}"
duckdb.sql(f"COPY ({query}) TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)")
"""
OURS = "from cats_alpaca.cli import main\nimport sys\nmain(['convert', *sys.argv[1:]])"

PARQUET = {"cats_alpaca": OURS, "polars": POLARS, "duckdb": DUCKDB, "datasets json + map": DATASETS}
JSON = {"cats_alpaca": OURS, "write-up (pandas)": PANDAS}


def generate(file: Path, size: float, *, bad: bool, contexts: bool) -> None:
    """Write stories of high entropy, two in five with a context if there are to be any."""
    rng = random.Random(1)
    written = number = 0
    with file.open("wb") as stream:
        while written < size:
            story = {"question": "".join(rng.choices(LETTERS, k=rng.randint(15, 60)))}
            story["answer"] = "".join(rng.choices(LETTERS, k=rng.randint(60, 240)))
            if contexts and number % 5 < 2:
                story["context"] = "".join(rng.choices(LETTERS, k=60))
            written += stream.write(json.dumps(story, ensure_ascii=False).encode() + b"\n")
            number += 1
            if bad and written > size / 2:
                written += stream.write(b'{"question": "\xff"}\n')
                bad = False


class Figures(NamedTuple):
    """What one process took: seconds, processor seconds, and MB of memory at its peak."""

    seconds: float
    processor: float
    memory: float


def measure(code: str, *arguments: str) -> Figures:
    """Run a process to its end."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=-3, stderr=-3, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {code}")
    return Figures(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def compare(title: str, codes: dict[str, str], source: Path, target: Path, runs: int, options: list[str]) -> None:
    """Run all in turn, a round unmeasured first, and print a table."""
    found: dict[str, list[Figures]] = {name: [] for name in codes}
    sizes = {}
    for number in range(runs + 1):
        for name, code in codes.items():
            shutil.rmtree(f"{target}.cache", ignore_errors=True)
            target.unlink(missing_ok=True)  # to free an old file is no part of the work
            figures = measure(code, str(source), str(target), *(options if code is OURS else []))
            sizes[name] = target.stat().st_size / 1e6
            if number:
                found[name].append(figures)
    megabytes = source.stat().st_size / 1e6
    print(f"\n{title}: {megabytes:,.0f} MB, {runs} runs each in turn, medians\n")
    print("| | seconds | × ours | processor s | MB/s | peak MB | output MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, theirs in found.items():
        seconds, processor, memory = (statistics.median(column) for column in zip(*theirs, strict=True))
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(theirs, found["cats_alpaca"], strict=True))
        columns = f"{seconds:.2f} | {ratio:.2f} | {processor:.2f} | {megabytes / seconds:.0f} | {memory:.0f}"
        print(f"| {name} | {columns} | {sizes[name]:.0f} |")


HELP = "import sys; sys.argv[1:] = ['--help']\nfrom cats_alpaca.cli import main\nmain()"


def main() -> None:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=0.25)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=["parquet", "json"])
    parser.add_argument("--bad", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stories.jsonl")
        for ending, codes in (("parquet", PARQUET), ("json", JSON)):
            if asked.only not in (None, ending):
                continue
            # The write-up's program knows no context: without any, its output and ours are the same to the byte.
            generate(source, asked.gb * 1e9, bad=asked.bad, contexts=ending == "parquet")
            chosen = {"cats_alpaca": OURS} if asked.bad else codes
            options = ["--rejects", f"{folder}/bad.jsonl"] if asked.bad else []
            compare(f"JSONL → .{ending}", chosen, source, Path(folder, f"rows.{ending}"), asked.runs, options)
    ratio = statistics.median(measure(HELP).seconds / measure("import click").seconds for _ in range(2 * asked.runs))
    print(f"\ncats-alpaca --help: {ratio:.1f} × python -c 'import click'")


if __name__ == "__main__":
    main()
