"""What `plan` says before a build, beside what the build does then."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from support import Run, Write
from test_release import content
from test_sharding import bad_lines, text_of

from cats_alpaca import Report, SourceError, build, estimate
from cats_alpaca.cli.plan import _on_the_hub
from cats_alpaca.forecast import Estimate


@pytest.mark.parametrize(("name", "fraction"), [("cats.jsonl", 0.0), ("cats.jsonl", 0.2), ("cats.jsonl.gz", 0.0)])
def test_an_estimate_is_near_what_the_build_makes(write: Write, tmp_path: Path, name: str, fraction: float) -> None:
    raw = bad_lines(20_000)
    file = write(gzip.compress(raw) if name.endswith("gz") else raw, name)
    found = estimate(file, max_shard_size=10**6, test_fraction=fraction)
    report = Report()
    build(file, out=tmp_path / "out", max_shard_size=10**6, test_fraction=fraction, report=report, on_problem=str)
    files = content(tmp_path / "out")
    assert found.rows == pytest.approx(report.kept, rel=0.05)
    assert found.rejected == pytest.approx(report.rejected, rel=0.2)
    assert found.source_bytes == pytest.approx(len(raw), rel=0.05)
    rows = sum(len(content) for name, content in files.items() if name.endswith(".parquet"))
    assert found.release_bytes == pytest.approx(rows, rel=0.2)
    if not name.endswith("gz"):
        shards = sum(name.endswith(".parquet") for name in files)
        # Without topics there is a picture less.
        assert (found.files - 1, found.shards) == (len(files), shards // 4)


def test_a_sample_is_taken_from_several_places(write: Write) -> None:
    short, long = (
        "".join(json.dumps({"question": "q", "answer": a}) + "\n" for _ in range(n))
        for a, n in (("a", 100_000), ("a" * 2000, 2_000))
    )
    found = estimate(write((short + long).encode()), max_shard_size=2 * 10**6)
    assert 20_000 < found.rows < 180_000  # not by the beginning alone, which would be a quarter of a million


def test_more_cores_take_less_time(write: Write) -> None:
    file = write(text_of(5000).encode())
    assert estimate(file, cores=8).seconds < estimate(file, cores=1).seconds / 3


def test_the_command_prints_it_all(run: Run, write: Write) -> None:
    done = run("plan", write(text_of(3000).encode()), "--cores", "3", "--max-shard-size", "100kB")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert list(lines) == ["source", "rows", "shards", "release", "time", "memory", "Hub"]
    rows, bad = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", lines["rows"]))
    assert rows == pytest.approx(3000, rel=0.1)
    assert bad == 0
    assert lines["time"].endswith("on 3 cores")
    assert int(lines["release"].split()[0]) == 4 * int(lines["shards"].split()[0]) + 4
    assert re.match(r"about \d+ MB", lines["memory"])
    assert lines["Hub"].startswith(f"{lines['release'].split()[0]} files in 1 commit")


def test_the_hubs_limits_are_named_where_they_are_near() -> None:
    def said(release: float, largest: float) -> str:
        return _on_the_hub(Estimate(0, 0, 0, 0, 1, 5, int(release), int(largest), 0, 0))

    assert "does not recommend" not in said(5e9, 1e9)
    assert "20 GB" in said(90e9, 25e9)
    assert "refuses" in said(90e9, 51e9)
    assert "private" in said(101e9, 1e9)


def test_what_cannot_be_planned_is_a_sentence(run: Run) -> None:
    assert run("plan", "-").returncode == 2
    done = run("plan", "nothing.jsonl")
    assert (done.returncode, done.stderr) == (1, "Error: nothing.jsonl: there is no such file; check the name\n")
    with pytest.raises(SourceError):
        estimate(os.path.join("no", "such"))


def test_a_cluster_is_planned_with_the_cores_that_portions_can_keep_busy(run: Run, write: Write) -> None:
    source = write(text_of(3000).encode())
    options = ["plan", source, "--engine", "ray", "--nodes", "50", "--cores", "4", "--max-shard-size", "30kB"]
    done = run(*options)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    shards = int(lines["shards"].split()[0])
    assert 10 < shards < 50
    assert f"on 50 nodes of 4 cores, {shards * 4} of 200 busy" in lines["time"]
    assert lines["memory"].endswith("B a node")
    assert run("plan", source, "--nodes", "5").returncode == run("plan", source, "--engine", "ray").returncode == 2


def test_more_nodes_take_less_time_until_every_portion_has_its_cores(write: Write) -> None:
    file = write(text_of(20_000).encode())

    def seconds(nodes: int) -> float:
        return estimate(file, cores=1, nodes=nodes, max_shard_size=600_000).seconds

    # Each estimate measures this machine anew, which may be busy with something else: only the far ends are compared.
    assert seconds(40) < seconds(1)
