"""Shards of large sources: planned from their sizes, made in threads, the same whatever the threads do."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import Run, Write
from test_release import content as files_of
from test_release import records

from cats_alpaca import ReleaseError, Report, SourceError, StoriesError, build, read_stories
from cats_alpaca.conversion import convert_to_folder
from cats_alpaca.exact import Problem
from cats_alpaca.formats import CONFIGS
from cats_alpaca.ranges import Portion, most_portions, part_bytes, plan_portions
from cats_alpaca.workshop import UNFINISHED

ENCODINGS = {"utf-8": b"", "utf-8 with a mark": b"\xef\xbb\xbf", "cp932": b"", "utf-16-le": b"\xff\xfe"}


def content(release: Path) -> dict[str, bytes]:
    """Give a release's files, without the card: it tells the folder's name."""
    return {name: found for name, found in files_of(release).items() if name != "README.md"}


def rows_of(folder: Path, split: str = "train") -> list[Any]:
    return [row for file in sorted(folder.glob(f"{split}-*")) for row in pq.read_table(file).to_pylist()]


def text_of(count: int, word: str = "長い") -> str:
    lines = [json.dumps({"question": f"{n}", "answer": word * (n % 90 + 1)}, ensure_ascii=False) for n in range(count)]
    return "\n".join(lines) + "\n"


# ---- the plan


def plan(files: list[str], shard_bytes: int, most: int = 24, encoding: str | None = None) -> list[Portion]:
    portions, _ = plan_portions([("train", f) for f in files], encoding=encoding, shard_bytes=shard_bytes, most=most)
    return portions


@pytest.mark.parametrize("shard_bytes", [1, 7, 100, 999, 10**6])
def test_ranges_hold_every_line_once_and_start_where_lines_start(write: Write, shard_bytes: int) -> None:
    raw = b"\n\n" + b"".join(b"%d" % n * (n % 40) + b"\n" for n in range(50)) + b"no newline"
    portions = plan([write(raw)], shard_bytes, most=10_000)
    at = 0
    for portion in portions:
        for one in portion.ranges:
            assert one.start == at
            assert at == 0 or raw[at - 1 : at] == b"\n"
            at = one.stop if one.stop is not None else len(raw)
    assert at == len(raw)


def test_a_file_without_a_newline_is_one_range(write: Write) -> None:
    assert [portion.ranges[0].start for portion in plan([write(b"x" * 1000)], 10)] == [0]


def test_small_files_share_a_shard_and_large_ones_are_cut(write: Write) -> None:
    files = [write(b"x" * 9 + b"\n", f"{n}.jsonl") for n in range(3)]
    large = write(b"123456789\n" * 10, "large.jsonl")
    found = [[(Path(one.file).name, one.start) for one in portion.ranges] for portion in plan([*files, large], 50)]
    assert found == [[("0.jsonl", 0), ("1.jsonl", 0), ("2.jsonl", 0)], [("large.jsonl", 0)], [("large.jsonl", 50)]]


def test_shards_double_where_there_would_be_too_many(write: Write) -> None:
    file = write(b"123456789\n" * 100)
    portions, shard_bytes = plan_portions([("train", file)], encoding=None, shard_bytes=50, most=6)
    assert (len(portions), shard_bytes) == (5, 200)


def hollow(folder: Path, files: int, size: int) -> list[str]:
    """Make large files that take no place: nothing but line ends, where they are looked for."""
    made = [folder / f"{n}.jsonl" for n in range(files)]
    for file in made:
        with file.open("wb") as stream:
            for at in range(0, size, 8 * 10**9):
                stream.seek(at - 1 if at else 0)
                stream.write(b"\n")
            stream.truncate(size)
    return [str(file) for file in made]


@pytest.mark.parametrize(("splits", "gigabytes"), [(1, 500), (2, 250)])
def test_hundreds_of_gigabytes_are_no_more_files_than_a_hundred(tmp_path: Path, splits: int, gigabytes: int) -> None:
    most = most_portions(len(CONFIGS), splits)
    portions = plan(hollow(tmp_path, 5, gigabytes * 10**9 // 5), 500_000_000, most)
    assert 0.4 * most < len(portions) <= most
    assert sum(portion.size for portion in portions) == gigabytes * 10**9
    assert len(CONFIGS) * splits * len(portions) + 12 <= 100


def test_ten_terabytes_are_no_files_larger_than_the_hub_likes(tmp_path: Path, write: Write) -> None:
    packed = write(gzip.compress(b"x"), "x.gz")
    portions = plan([*hollow(tmp_path, 5, 2 * 10**12), packed], 500_000_000, most_portions(len(CONFIGS), 1))
    assert sum(portion.size for portion in portions) >= 10**13
    assert max(portion.size for portion in portions) == 32 * 10**9
    assert len(portions) == 316
    assert portions[-1].files > 1  # nobody knows how long it is


def test_what_is_compressed_or_no_file_is_never_cut_before_it_is_read(write: Write) -> None:
    file = write(gzip.compress(os.urandom(2000)), "cats.gz")
    [packed, stream] = plan([file, "-"], 1000)
    assert [one.stop for one in (*packed.ranges, *stream.ranges)] == [None, None]
    assert packed.files + stream.files <= 24
    assert part_bytes(packed, packed.files - 1, 1000) is None


@pytest.mark.parametrize("most", [1, 2, 3, 10, 24])
def test_a_plan_never_allows_more_shards_than_asked(write: Write, most: int) -> None:
    files = [write(b"123456789\n" * 10**n, f"{n}.jsonl") for n in range(4)]
    files += [write(gzip.compress(os.urandom(5000)), f"{n}.gz") for n in range(5)]
    assert 1 <= sum(portion.files for portion in plan([*files, "-"], 100, most)) <= max(most, 1)


# ---- shards


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_shards_hold_what_one_reader_reads(write: Write, tmp_path: Path, encoding: str) -> None:
    codec = encoding.split()[0]
    file = write(ENCODINGS[encoding] + text_of(500).encode(codec))
    reading: dict[str, Any] = {"encoding": codec} if codec == "cp932" else {}
    convert_to_folder(file, tmp_path / "out", config="stories", max_shard_size=8_000, block_bytes=1_000, **reading)
    expected = [row for batch in read_stories(file, **reading) for row in batch.to_pylist()]
    assert rows_of(tmp_path / "out") == expected
    assert len(expected) == 500
    assert len(list((tmp_path / "out").iterdir())) > 5


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_bytes_do_not_depend_on_the_threads(
    write: Write, tmp_path: Path, threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = [write(text_of(700).encode(), "a.jsonl"), write(gzip.compress(text_of(300, "短").encode()), "b.jsonl.gz")]
    made = []
    for number, out in ((threads, tmp_path / "out"), (3, tmp_path_factory.mktemp("other") / "out")):
        options: dict[str, Any] = {"max_shard_size": 9_000, "block_bytes": 1_000}
        build(files, out=out, threads=number, test_fraction=0.2, **options)
        made.append(content(out))
    assert made[0] == made[1]
    assert len([name for name in made[0] if "data/chat/train" in name]) > 5


def test_a_story_more_changes_the_last_shard_only(write: Write, tmp_path: Path) -> None:
    for name, count in (("few", 500), ("more", 501)):
        convert_to_folder(write(text_of(count).encode()), tmp_path / name, max_shard_size=10_000)
    few, more = ([file.read_bytes() for file in sorted((tmp_path / name).iterdir())] for name in ("few", "more"))
    assert len(few) == len(more) > 4
    assert few[:-1] == more[:-1]
    assert few[-1] != more[-1]


def test_a_stream_is_cut_while_it_is_read_and_never_into_too_many(write: Write, tmp_path: Path) -> None:
    file = write(gzip.compress(text_of(3000).encode()), "cats.gz")
    build(file, out=tmp_path / "out", max_shard_size=5000, block_bytes=1000)
    assert 60 < len(content(tmp_path / "out")) <= 100
    rows = rows_of(tmp_path / "out" / "data" / "alpaca")
    assert [row["instruction"] for row in rows] == [f"{n}" for n in range(3000)]


def test_standard_input_becomes_a_release(run: Run, tmp_path: Path) -> None:
    assert run("build", "--train", "-", "--out", "r", input=text_of(100)).returncode == 0
    assert len(rows_of(tmp_path / "cwd" / "r" / "data" / "alpaca")) == 100


def test_a_release_has_at_most_a_hundred_files(write: Write, tmp_path: Path) -> None:
    build(write(text_of(2000).encode()), out=tmp_path / "out", max_shard_size=1000, test_fraction=0.5)
    names = content(tmp_path / "out")
    assert 50 < len(names) <= 100
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "out" / "data" / "chat").iterdir()) == 2000


# ---- bad lines

BAD = [b"{", b'{"question": 7, "answer": "x"}', b"\xff\xfe", b'"' + b"x" * 3000 + b'"', b'{"question": "x"}']


def bad_lines(count: int) -> bytes:
    rng = random.Random(1)
    lines = text_of(count).encode().splitlines()
    return b"\n".join(rng.choice(BAD) if rng.random() < 0.05 else line for line in lines)


@pytest.mark.parametrize("shard_bytes", [3_000, 20_000, 10**6])
def test_bad_lines_are_named_and_counted_as_by_one_reader(write: Write, tmp_path: Path, shard_bytes: int) -> None:
    files = [write(bad_lines(n), f"{n}.jsonl") for n in (300, 10, 500)]
    files.append(files[0])  # once more from line 1
    expected, found = Report(), Report()
    expected_problems: list[Problem] = []
    found_problems: list[Problem] = []
    options: dict[str, Any] = {"max_line_bytes": 2000, "block_bytes": 1000}
    for _ in read_stories(files, report=expected, on_problem=expected_problems.append, **options):
        pass
    options |= {"max_shard_size": shard_bytes, "threads": 3}
    convert_to_folder(files, tmp_path / "out", report=found, on_problem=found_problems.append, **options)
    assert found_problems == expected_problems
    assert len({problem.code for problem in found_problems}) == 5
    assert found.as_dict() == expected.as_dict()
    assert len(rows_of(tmp_path / "out")) == found.kept == found.read - found.rejected


def test_bad_lines_without_rejects_leave_nothing(write: Write, tmp_path: Path) -> None:
    report = Report()
    with pytest.raises(StoriesError):
        convert_to_folder(write(bad_lines(300)), tmp_path / "out", max_shard_size=3_000, report=report)
    assert report.kept + report.rejected == report.read == 300
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["convert", "{cats}", "out/"], ["build", "--train", "{cats}", "--out", "out"]])
def test_the_commands_write_shards_and_rejects(run: Run, write: Write, tmp_path: Path, command: list[str]) -> None:
    source = write(bad_lines(300))
    arguments = [argument.format(cats=source) for argument in command]
    done = run(*arguments, "--max-shard-size", "5 kB", "--threads", "2", "--rejects", "bad.jsonl", "--report", "r.json")
    assert done.returncode == 0, done.stderr
    rejects = [json.loads(line) for line in (tmp_path / "cwd" / "bad.jsonl").read_text("utf-8").splitlines()]
    raw = Path(source).read_bytes().split(b"\n")
    assert [raw[reject["line"] - 1] for reject in rejects if "raw" in reject] == [
        reject["raw"].encode() for reject in rejects if "raw" in reject
    ]
    report = json.loads((tmp_path / "cwd" / "r.json").read_text("utf-8"))
    assert (len(rejects), 300) == (report["rejected"], report["read"])
    assert done.stderr.startswith(f"300 lines read = {report['kept']} kept + {report['rejected']} rejected\n")


def test_a_size_is_read_as_people_write_it(run: Run, write: Write) -> None:
    done = run("convert", write(records(1)), "out/", "--max-shard-size", "many")
    assert (done.returncode, "'many' is no size; write one like 500MB or 2GiB" in done.stderr) == (2, True)


def test_an_earlier_conversion_is_replaced_and_nothing_else(run: Run, write: Write, tmp_path: Path) -> None:
    out = tmp_path / "cwd" / "out"
    convert_to_folder(write(text_of(300).encode()), out, max_shard_size=5_000)
    (out / "train.parquet").write_text("mine")
    assert run("convert", write(records(1)), "out").returncode == 0  # a folder that is there needs no slash
    assert sorted(os.listdir(out)) == ["train-00000-of-00001.parquet", "train.parquet"]


def test_a_source_that_breaks_off_leaves_nothing(write: Write, tmp_path: Path) -> None:
    files = [write(text_of(300).encode(), "a.jsonl"), write(gzip.compress(text_of(3000).encode())[:-10], "b.gz")]
    with pytest.raises(SourceError, match=r"b\.gz"):
        convert_to_folder(files, tmp_path / "out", max_shard_size=5_000, threads=4)
    assert not (tmp_path / "out").exists()


def test_a_shard_that_cannot_be_written_is_an_error_not_a_standstill(run: Run, write: Write, tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    lines = "".join(json.dumps({"question": f"{n}", "answer": os.urandom(150).hex()}) + "\n" for n in range(20_000))
    done = run("convert", write(lines.encode()), "out/", "--threads", "2", preexec_fn=limit)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "cwd") == []


# ---- stopped builds

BUILD = """
import sys
from cats_alpaca import build
options = {"max_shard_size": 200_000, "threads": 2, "test_fraction": 0.2, "block_bytes": 20_000}
build(sys.argv[1:-1], out=sys.argv[-1], resume=True, **options)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("sources")
    lines = [json.dumps({"question": f"{n}", "answer": os.urandom(150).hex()}) + "\n" for n in range(12_000)]
    (folder / "a.jsonl").write_text("".join(lines[:9000]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("".join(lines[9000:]).encode()))
    return [str(folder / "a.jsonl"), str(folder / "b.jsonl.gz")]


def kill_and_resume(sources: list[str], out: Path, delay: float) -> bool:
    """Kill a build after some seconds, and resume it; say whether it was killed before its end."""
    command = [sys.executable, "-c", BUILD, *sources, str(out)]
    process = subprocess.Popen(command, stdout=-3, stderr=-3)
    time.sleep(delay)
    process.kill()
    stopped = process.wait() != 0
    subprocess.run(command, check=True)
    return stopped


@pytest.mark.slow
def test_a_build_killed_at_any_moment_resumes_to_the_same_bytes(sources: list[str], tmp_path: Path) -> None:
    # CATS_ALPACA_KILLS=50 pytest -k killed tests/test_sharding.py
    command = [sys.executable, "-c", BUILD, *sources]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    took, expected = time.monotonic() - started, content(tmp_path / "whole")
    moments = int(os.environ.get("CATS_ALPACA_KILLS", "6"))
    rng = random.Random()
    stopped = 0
    for moment in range(moments):
        out = tmp_path / f"{moment}"
        stopped += kill_and_resume(sources, out, rng.uniform(0.2, 1) * took)
        assert content(out) == expected
    assert stopped > moments / 3


SMALL: dict[str, Any] = {"threads": 1, "max_shard_size": 200_000, "block_bytes": 20_000}


Stamp = tuple[int, int]


def stamp(file: Path) -> Stamp:
    """Know a file again; one that was made again has another inode, or at least another time."""
    return file.stat().st_ino, file.stat().st_mtime_ns


def break_off(sources: list[str], out: Path, portions: int = 5, **options: Any) -> dict[str, Stamp]:
    """Build until so many portions are done; give the stamps of what was finished."""
    manifest = out / UNFINISHED / "shards" / "manifest.json"

    def progress(size: int) -> None:
        if manifest.exists() and len(json.loads(manifest.read_bytes())["done"]) >= portions:
            raise OSError("the connection is lost")

    with pytest.raises(SourceError, match="the connection is lost"):
        build(sources, out=out, progress=progress, **{**SMALL, **options})
    assert [file.name for file in out.iterdir()] == [UNFINISHED]
    done = json.loads(manifest.read_bytes())["done"].values()
    files = [
        manifest.with_name(name) if "/" not in name else manifest.parent / name for d in done for name in d["files"]
    ]
    return {str(file.relative_to(manifest.parent)): stamp(file) for file in files}


def kept(finished: dict[str, Stamp], out: Path) -> set[str]:
    """Tell which of the finished files are in the release."""
    there = {stamp(file) for file in out.rglob("*.parquet")}
    return {name for name, found in finished.items() if found in there}


@pytest.fixture
def whole(sources: list[str], tmp_path: Path) -> dict[str, bytes]:
    build(sources, out=tmp_path / "whole", **SMALL)
    return content(tmp_path / "whole")


def test_what_is_finished_is_kept(sources: list[str], tmp_path: Path, whole: dict[str, bytes]) -> None:
    finished = break_off(sources, tmp_path / "out")
    report, seen = Report(), list[int]()
    build(sources, out=tmp_path / "out", resume=True, report=report, progress=seen.append, **SMALL)
    assert kept(finished, tmp_path / "out") == finished.keys()
    assert len(finished) == 5 * 4
    assert content(tmp_path / "out") == whole
    assert (report.read, report.kept, report.rejected) == (12_000, 12_000, 0)
    assert sum(seen) == sum(os.path.getsize(source) for source in sources)


def test_without_resume_all_is_made_again(sources: list[str], tmp_path: Path, whole: dict[str, bytes]) -> None:
    finished = break_off(sources, tmp_path / "out")
    build(sources, out=tmp_path / "out", **SMALL)
    assert kept(finished, tmp_path / "out") == set()
    assert content(tmp_path / "out") == whole


@pytest.mark.parametrize(
    "changed",
    [{"test_fraction": 0.1}, {"max_shard_size": 150_000}, {"max_line_bytes": 10_000}, {"block_bytes": 30_000}],
)
def test_with_other_options_all_is_made_again(sources: list[str], tmp_path: Path, changed: dict[str, Any]) -> None:
    finished = break_off(sources, tmp_path / "out")
    options = {**SMALL, **changed}
    build(sources, out=tmp_path / "out", resume=True, **options)
    build(sources, out=tmp_path / "undisturbed", **options)
    assert kept(finished, tmp_path / "out") == set()
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_a_changed_line_makes_its_portion_again_even_at_the_same_time_and_size(
    sources: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    raw = Path(sources[0]).read_bytes()
    file.write_bytes(raw)
    before = file.stat()
    finished = break_off([str(file)], tmp_path / "out")
    file.write_bytes(raw[:300_000] + raw[300_000:].replace(b"a", b"b", 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    build(str(file), out=tmp_path / "out", resume=True, **SMALL)
    build(str(file), out=tmp_path / "undisturbed", **SMALL)
    assert {name for name in finished if ".00001." not in name} == kept(finished, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "gone", "a torn manifest", "other code"])
def test_what_is_not_as_it_was_written_is_made_again(
    sources: list[str], tmp_path: Path, whole: dict[str, bytes], damage: str
) -> None:
    finished = break_off(sources, tmp_path / "out")
    folder = tmp_path / "out" / UNFINISHED / "shards"
    shard, manifest = folder / "chat" / "train.00002.00000.parquet", folder / "manifest.json"
    raw = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    elif damage == "a torn manifest":
        manifest.write_bytes(manifest.read_bytes()[:-100])
    elif damage == "other code":
        manifest.write_text(manifest.read_text().replace('"pyarrow": "', '"pyarrow": "0.'))
    else:
        shard.write_bytes(raw[:-1] if damage == "shorter" else raw[:500] + bytes([raw[500] ^ 1]) + raw[501:])
    build(sources, out=tmp_path / "out", resume=True, **SMALL)
    assert content(tmp_path / "out") == whole
    whole_manifest = damage in ("shorter", "other bytes", "gone")
    again = {name for name in finished if not whole_manifest or ".00002." in name}
    assert kept(finished, tmp_path / "out") == finished.keys() - again


def test_bad_lines_of_kept_portions_are_told_again(tmp_path: Path, write: Write) -> None:
    source = [write(bad_lines(3000))]
    problems: list[Problem] = []
    expected: list[Problem] = []
    options = {**SMALL, "max_shard_size": 50_000, "on_problem": expected.append}
    build(source, out=tmp_path / "whole", **options)
    options["on_problem"] = problems.append
    break_off(source, tmp_path / "out", **options)
    problems.clear()
    report = Report()
    build(source, out=tmp_path / "out", resume=True, report=report, **options)
    assert problems == expected
    assert len(expected) == report.rejected > 50
    assert report.read == 3000


def test_two_builds_of_one_folder_do_not_meet(sources: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused: list[str] = []

    def progress(size: int) -> None:
        if not refused:
            with pytest.raises(ReleaseError) as error:
                build(sources, out=out, **SMALL)
            refused.append(str(error.value))

    build(sources, out=out, progress=progress, **SMALL)
    assert refused == [f"{out} is being built by another process; wait for it, or name another --out"]
    assert len(rows_of(out / "data" / "alpaca")) == 12_000


def test_the_command_says_how_to_go_on(sources: list[str], run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(Path(sources[1]).read_bytes()[:-10])
    arguments = ["build", "--train", sources[0], "--train", str(broken), "--out", "r", "--max-shard-size", "200kB"]
    done = run(*arguments)
    assert done.returncode == 1
    assert f"r/{UNFINISHED} keeps what is finished; go on with --resume\n" in done.stderr
    broken.write_bytes(Path(sources[1]).read_bytes())
    assert run(*arguments, "--resume").returncode == 0
    assert len(rows_of(tmp_path / "cwd" / "r" / "data" / "alpaca")) == 12_000
    assert sorted(os.listdir(tmp_path / "cwd" / "r")) == ["README.md", "assets", "data", "dataset_info.json"]
