"""Builds on a Ray cluster of two nodes, one of which dies: the same files as one machine makes."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import s3fs
from support import CHECKOUT, Run, Write
from test_release import content as files_of
from test_release import records
from test_remote import bucket, line, objects, server, uploads
from test_sharding import bad_lines, content, rows_of

from cats_alpaca import ReleaseError, build
from cats_alpaca.cluster import _own_folder, _refuse_other_code
from cats_alpaca.feedback import ask, forget, join, open_store, rate, set_consent
from cats_alpaca.manifest import code
from cats_alpaca.workshop import UNFINISHED

needs_ray = [
    pytest.mark.ray,
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed: pip install '.[ray]'"),
]

__all__ = ["bucket", "line", "server"]  # fixtures


def with_ray(test: Any) -> Any:
    for mark in needs_ray:
        test = mark(test)
    return test


class Nodes:
    """A cluster in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", str(CHECKOUT / "tests" / "ray_cluster.py")]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-3, text=True)
        self.address = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill_one(self) -> None:
        """Kill a node; return when it is dead."""
        assert self.process.stdin
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self._answer() == "killed"

    def wait_for_two(self) -> None:
        assert self._answer() == "replaced"

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.stdout
        self.process.stdout.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    assert found.address
    yield found
    found.end()


@pytest.fixture
def far(bucket: s3fs.S3FileSystem) -> Iterator[Nodes]:
    """Give a cluster whose nodes know where the server is."""
    found = Nodes()
    assert found.address
    yield found
    found.end()


@pytest.fixture
def sources(write: Write) -> list[str]:
    for name in ("alone", "many"):
        write(b"", f"cwd/{name}/nothing")
    write(bad_lines(3000), "a.jsonl")
    write(gzip.compress(bad_lines(500)), "b.jsonl.gz")
    return ["../a.jsonl", "../b.jsonl.gz"]  # from the folder of `run`


def arguments(sources: list[str], out: str) -> list[str]:
    chosen = [argument for source in sources for argument in ("--train", source)]
    apart = ["--rejects", f"{out}.rejects", "--report", f"{out}.report"]
    return ["build", *chosen, "--test-fraction", "0.2", "--out", out, "--max-shard-size", "30kB", *apart]


# ---- with a cluster


@with_ray
def test_a_cluster_makes_the_files_of_one_machine(run: Run, nodes: Nodes, sources: list[str], tmp_path: Path) -> None:
    alone = run(*arguments(sources, "alone/cats"))
    many = run(*arguments(sources, "many/cats"), "--engine", "ray", "--ray-address", nodes.address)
    assert (alone.returncode, many.returncode) == (0, 0), many.stderr
    assert many.stderr == alone.stderr
    assert many.stdout == alone.stdout.replace("alone", "many")
    assert files_of(tmp_path / "cwd" / "many") == files_of(tmp_path / "cwd" / "alone")
    assert len(rows_of(tmp_path / "cwd" / "many" / "cats" / "data" / "chat")) > 2000
    assert not (tmp_path / "cwd" / "many" / "cats" / UNFINISHED).exists()


@with_ray
def test_what_a_cluster_finished_is_kept(run: Run, nodes: Nodes, sources: list[str], tmp_path: Path) -> None:
    run(*arguments(sources, "alone/cats"))
    whole = (tmp_path / "b.jsonl.gz").read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-10])
    command = [*arguments(sources, "many/cats"), "--engine", "ray", "--ray-address", nodes.address]
    broken = run(*command)
    assert broken.returncode == 1
    assert "Error: ../b.jsonl.gz: cannot be read: " in broken.stderr
    assert "Traceback" not in broken.stderr
    assert "go on with --resume\n" in broken.stderr
    shards = tmp_path / "cwd" / "many" / "cats" / UNFINISHED / "shards"
    finished = {file.stat().st_ino for file in shards.glob("*.try-*/chat/*.parquet")}
    (tmp_path / "b.jsonl.gz").write_bytes(whole)
    resumed = run(*command, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    there = {file.stat().st_ino for file in (tmp_path / "cwd" / "many" / "cats").rglob("*.parquet")}
    assert len(finished & there) > 10
    assert files_of(tmp_path / "cwd" / "many") == files_of(tmp_path / "cwd" / "alone")


@with_ray
def test_what_was_taken_back_is_in_no_shard_of_a_cluster(run: Run, nodes: Nodes, write: Write, tmp_path: Path) -> None:
    with open_store(tmp_path / "cats.sqlite") as store:
        me = join(store)
        turns = [ask(store, me, "ミケ", question).id for question in ("夜中に鳴きます", "水を飲みません")]
        for turn in turns:
            rate(store, me, turn, "down", correction="寝る前に遊んであげましょう。")
        for what in ("train", "publish"):
            set_consent(store, me, what, True)
        forget(store, me, turns[0])
    stories = [*records(50), {"id": turns[0], "question": "夜中に鳴きます", "answer": "寝る前に。"}, *records(50)]
    source = write(stories)
    for out, engine in (("alone", []), ("many", ["--engine", "ray", "--ray-address", nodes.address])):
        command = ["build", "--train", source, "--out", f"{out}/cats", "--feedback", str(tmp_path / "cats.sqlite")]
        done = run(*command, "--max-shard-size", "1kB", *engine)
        assert done.returncode == 0, done.stderr
        assert "of the rejected: withdrawn 1\n" in done.stderr
    assert files_of(tmp_path / "cwd" / "many") == files_of(tmp_path / "cwd" / "alone")
    ids = [row["id"] for row in rows_of(tmp_path / "cwd" / "many" / "cats" / "data" / "stories")]
    assert (turns[0] in ids, turns[1] in ids, len(ids)) == (False, True, 101)


BUILD = """
import sys
from cats_alpaca import build
options = {"max_shard_size": 200_000, "block_bytes": 20_000}
answers, sys.stdout = sys.stdout, sys.stderr  # Ray prints there who died
if sys.argv[1]:
    import ray
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")  # once, for all that follow
    options["engine"] = "ray"
for out in sys.stdin:
    build(sys.argv[2:], out=out.strip(), **options)
    print("built", file=answers, flush=True)
"""


class Builder(Nodes):
    """A process that builds into one folder after the other, on a cluster or without."""

    def __init__(self, address: str, sources: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILD, address, *sources], stdin=-1, stdout=-1, text=True
        )

    def start(self, out: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{out}\n")
        self.process.stdin.flush()

    @property
    def is_done(self) -> bool:
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], 0.01)[0])

    def wait(self) -> None:
        assert self._answer() == "built"


def build_while_one_dies(
    nodes: Nodes, builder: Builder, out: str, begun: Callable[[], set[str]], rng: random.Random
) -> tuple[bool, bool]:
    """Kill a node in the middle of a build; say whether it was still running, and whether a portion was run again."""
    tries: set[str] = set()
    moment = rng.randint(1, 8)  # when so many portions have been begun
    killed = running = False
    builder.start(out)
    while not builder.is_done:
        tries |= begun()
        if len(tries) >= moment and not killed:
            time.sleep(rng.uniform(0, 0.2))
            nodes.kill_one()
            killed, running = True, not builder.is_done
    builder.wait()
    assert killed
    nodes.wait_for_two()
    return running, len(tries) > len({name.partition(".")[0] for name in tries})


@with_ray
@pytest.mark.slow
def test_a_node_that_dies_at_any_moment_changes_nothing(nodes: Nodes, tmp_path: Path) -> None:
    # CATS_ALPACA_KILLS=50 pytest -k dies tests/test_cluster.py
    lines = [json.dumps({"question": f"{n}", "answer": os.urandom(150).hex()}) + "\n" for n in range(12_000)]
    (tmp_path / "a.jsonl").write_text("".join(lines[:9000]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("".join(lines[9000:]).encode()))
    sources = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.gz")]
    alone, builder = Builder("", sources), Builder(nodes.address, sources)
    alone.start(str(tmp_path / "whole"))
    alone.wait()
    alone.end()
    expected = content(tmp_path / "whole")
    times = int(os.environ.get("CATS_ALPACA_KILLS", "4"))
    rng = random.Random()
    while_running = again = builds = 0
    # A node may die between two portions; so it is tried until one died in the middle of one.
    while builds < times or (not again and builds < 20):
        out = tmp_path / f"{builds}"
        shards = out / UNFINISHED / "shards"

        def begun(shards: Path = shards) -> set[str]:
            with suppress(FileNotFoundError):  # not yet there, or gone
                return {name for name in os.listdir(shards) if ".try-" in name}
            return set()

        running, repeated = build_while_one_dies(nodes, builder, str(out), begun, rng)
        assert content(out) == expected
        assert [one.name for one in out.iterdir() if one.name.startswith(".")] == []
        builds, while_running, again = builds + 1, while_running + running, again + repeated
        shutil.rmtree(out)
    builder.end()
    print(f"{builds} builds lost a node, {while_running} while computing; {again} ran a portion again")
    assert while_running > builds / 2
    assert again


@with_ray
def test_a_cluster_writes_behind_a_url(
    bucket: s3fs.S3FileSystem, far: Nodes, run: Run, sources: list[str], tmp_path: Path
) -> None:
    bucket.pipe_file("cats/a.jsonl", (tmp_path / "a.jsonl").read_bytes())
    bucket.pipe_file("cats/release/notes.txt", b"mine")
    bucket.pipe_file("cats/release/.build-unfinished/00000.try-1/chat/train.00000.00000.parquet", b"of a dead driver")
    for size in ("30kB", "1MB"):  # the second release has fewer shards
        (tmp_path / "cwd" / "alone" / size).mkdir()
        alone = run(*arguments(sources, f"alone/{size}/release"), "--max-shard-size", size)
        command = arguments(["s3://cats/a.jsonl", sources[1]], "s3://cats/release")
        command[-4:] = ["--rejects", f"{size}.rejects", "--report", f"{size}.report"]
        many = run(*command, "--max-shard-size", size, "--engine", "ray", "--ray-address", far.address)
        assert (alone.returncode, many.returncode) == (0, 0), many.stderr
        made = files_of(tmp_path / "cwd" / "alone" / size / "release")
        found = objects(bucket, "cats/release")
        assert found == {**made, "notes.txt": b"mine"}
        for what in ("rejects", "report"):
            expected = (tmp_path / "cwd" / "alone" / size / f"release.{what}").read_bytes()
            assert (tmp_path / "cwd" / f"{size}.{what}").read_bytes().replace(b"s3://cats/", b"../") == expected
        assert uploads(bucket) == []


def tries(bucket: s3fs.S3FileSystem) -> set[str]:
    """Name the tries that have begun behind the URL."""
    bucket.invalidate_cache()
    found: list[str] = bucket.glob("cats/release/.build-unfinished/*.try-*/begun")
    return {name.split("/")[-2] for name in found}


@with_ray
def test_what_a_cluster_finished_behind_a_url_is_kept(
    bucket: s3fs.S3FileSystem, far: Nodes, run: Run, sources: list[str], tmp_path: Path
) -> None:
    alone = run(*arguments(sources, "alone/release"))
    assert alone.returncode == 0, alone.stderr
    whole = (tmp_path / "b.jsonl.gz").read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-10])
    command = arguments(sources, "s3://cats/release")
    command[-4:] = ["--engine", "ray", "--ray-address", far.address]
    broken = run(*command, "--rejects", "rejects")
    assert broken.returncode == 1
    assert "s3://cats/release/.build-unfinished keeps what is finished; go on with --resume\n" in broken.stderr
    done = json.loads(bucket.cat_file("cats/release/.build-unfinished/manifest.json"))["done"]
    kept = {name.split("/")[-3] for entry in done.values() for name in entry["files"] if name.endswith(".parquet")}
    assert len(kept) > 3
    (tmp_path / "b.jsonl.gz").write_bytes(whole)
    program = "from cats_alpaca.cli import main; main()"
    resumed = subprocess.Popen(
        [sys.executable, "-c", program, *command, "--rejects", "rejects", "--resume"], cwd=tmp_path / "cwd"
    )
    begun: set[str] = set()
    while resumed.poll() is None:
        begun |= tries(bucket)
    assert resumed.returncode == 0
    numbers = {name.partition(".")[0] for name in kept}
    assert {name for name in begun if name.partition(".")[0] in numbers} == kept
    assert objects(bucket, "cats/release") == files_of(tmp_path / "cwd" / "alone" / "release")
    rejects = (tmp_path / "cwd" / "alone" / "release.rejects").read_bytes()
    assert (tmp_path / "cwd" / "rejects").read_bytes() == rejects


@with_ray
def test_a_node_that_dies_leaves_no_shard_behind_a_url(bucket: s3fs.S3FileSystem, far: Nodes, tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"{n}", "answer": os.urandom(150).hex()}) + "\n" for n in range(12_000)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    alone, builder = Builder("", [str(tmp_path / "a.jsonl")]), Builder(far.address, [str(tmp_path / "a.jsonl")])
    alone.start(str(tmp_path / "release"))
    alone.wait()
    alone.end()
    rng = random.Random(7)
    again = builds = 0
    while not again and builds < 8:
        _, repeated = build_while_one_dies(far, builder, "s3://cats/release", lambda: tries(bucket), rng)
        assert objects(bucket, "cats/release") == files_of(tmp_path / "release")
        builds, again = builds + 1, again + repeated
        bucket.rm("cats/release", recursive=True)
    builder.end()
    assert again


CHECK = """
import json, sys
from cats_alpaca.checks import examine
where = {"engine": "ray", "ray_address": sys.argv[2]} if sys.argv[2] else {}
answers, sys.stdout = sys.stdout, sys.stderr
read = []
def progress(size):
    read.append(size)
    if len(read) == 5:  # the first blocks, of which each is twice as large as the one before, are on their way
        print("reading", file=answers, flush=True)
found = examine(sys.argv[1], progress=progress, **where)
print(json.dumps([found.stories, found.shape, found.findings]), file=answers, flush=True)
"""


@with_ray
def test_check_finds_the_same_on_a_cluster_that_loses_a_node(nodes: Nodes, write: Write) -> None:
    rng = random.Random(3)
    answers = ["".join(chr(rng.randrange(0x3041, 0x30FF)) for _ in range(200)) for _ in range(20_000)]
    answers += [answer[:-1] + "。" for answer in answers[:300]] + answers[:50]
    lines = [json.dumps({"question": f"{n} なぜ", "answer": a}, ensure_ascii=False) for n, a in enumerate(answers)]
    source = write("\n".join([*lines, "{", *lines[:20]]).encode())
    alone, many = (
        subprocess.Popen([sys.executable, "-c", CHECK, source, address], stdout=-1, text=True)
        for address in ("", nodes.address)
    )
    assert many.stdout
    assert many.stdout.readline() == "reading\n"
    nodes.kill_one()
    assert not select.select([many.stdout], [], [], 0)[0]  # it was in the middle
    nodes.wait_for_two()
    expected, found = (json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in (alone, many))
    assert found == expected
    rules = [rule for rule, *_ in found[2]]
    assert (rules.count("duplicate-answer"), rules.count("invalid-json"), found[0]) == (70, 1, 20_370)
    assert rules.count("near-answer") >= 300


# ---- without one


def test_without_ray_the_next_step_is_named(write: Write, tmp_path: Path) -> None:
    command = "import sys; sys.modules['ray'] = None; from cats_alpaca.cli import main; main()"
    options = ["build", "--train", write(records(3)), "--out", str(tmp_path / "r"), "--engine", "ray"]
    done = subprocess.run([sys.executable, "-c", command, *options], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: to build on a cluster, install Ray: pip install 'cats_alpaca[ray]'\n",
    )
    assert not (tmp_path / "r").exists()


def test_what_a_cluster_cannot_do_is_wrong_usage(run: Run) -> None:
    done = run("build", "--engine", "ray", "--check")
    assert (done.returncode, "--check builds nothing" in done.stderr) == (2, True)
    for command in ("build", "check"):
        assert run(command, "--ray-address", "auto").returncode == 2


def test_standard_input_is_for_one_machine(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="put it into a file"):
        build("-", out=tmp_path / "r", engine="ray")


def test_a_node_with_other_code_is_refused() -> None:
    _refuse_other_code(code())
    with pytest.raises(ReleaseError, match=r"pyarrow is '.*', but '0\.1' where the build was started"):
        _refuse_other_code({**code(), "pyarrow": "0.1"})


def test_a_node_that_does_not_share_the_folder_is_named(tmp_path: Path) -> None:
    assert _own_folder(3, tmp_path) != _own_folder(3, tmp_path)
    with pytest.raises(ReleaseError, match=r"does not see .*nowhere; --out must be in a folder that all nodes share"):
        _own_folder(3, tmp_path / "nowhere")


def test_a_portion_that_kills_its_workers_is_not_tried_for_ever(tmp_path: Path) -> None:
    for _ in range(20):
        _own_folder(7, tmp_path)
    _own_folder(8, tmp_path)
    with pytest.raises(ReleaseError, match="portion 7 took its worker down 20 times"):
        _own_folder(7, tmp_path)
