"""Sources and destinations behind s3://: a real server on loopback, the real client, and a line that is cut."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import s3fs
from support import Run, Write
from test_release import content, records

from cats_alpaca import ReleaseError, SourceError, StoriesError, build, convert
from cats_alpaca.conversion import convert_to_folder
from cats_alpaca.remote import each_at, upload
from cats_alpaca.sending import make_and_send
from cats_alpaca.sharding import Outcome


def wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Run an S3 server in a process of its own; give its port."""
    port = free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=-3, stderr=-3)
    wait_for(port)
    yield port
    process.terminate()
    process.wait()


class Line:
    """A TCP line to the server that can be cut: `allowed` says how many bytes may still come back through it."""

    def __init__(self, port: int) -> None:
        self.server, self.cuts, self.to_cut = port, 0, 0
        self.allowed: int | None = None
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int, times: int = 1) -> None:
        self.allowed, self.to_cut, self.size = count, times, count

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server))
            for source, target, back in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, target, back), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if back and self._is_cut(len(data)):
                    target.sendall(data[: len(data) // 2])
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not back:
                end.close()

    def _is_cut(self, count: int) -> bool:
        if self.allowed is None or self.cuts >= self.to_cut:
            return False
        self.allowed -= count
        if self.allowed >= 0:
            return False
        self.cuts, self.allowed = self.cuts + 1, self.size
        return True


@pytest.fixture
def line(server: int) -> Iterator[Line]:
    line = Line(server)
    yield line
    line.listening.close()


@pytest.fixture
def bucket(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """Give an empty bucket called cats, which everything reaches through the line."""
    settings = {
        "AWS_ACCESS_KEY_ID": "cats",
        "AWS_SECRET_ACCESS_KEY": "cats",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}",
        "AWS_MAX_ATTEMPTS": "2",
        "NO_PROXY": "*",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if files.exists("cats"):
        files.rm("cats", recursive=True)
    files.mkdir("cats")
    yield files
    line.allowed = None
    s3fs.S3FileSystem.clear_instance_cache()


def uploads(files: s3fs.S3FileSystem) -> list[Any]:
    """List the uploads that were begun and neither finished nor thrown away."""
    return files.call_s3("list_multipart_uploads", Bucket="cats").get("Uploads", [])  # type: ignore[no-any-return]


def objects(files: s3fs.S3FileSystem, place: str) -> dict[str, bytes]:
    files.invalidate_cache()
    return {path.removeprefix(f"{place}/"): files.cat_file(path) for path in files.find(place)}


def large(count: int = 40_000) -> bytes:
    return b"".join(b'{"question": "%d", "answer": "%s"}\n' % (n, os.urandom(150).hex().encode()) for n in range(count))


def test_sources_are_read_in_ranges(bucket: s3fs.S3FileSystem, write: Write, tmp_path: Path) -> None:
    raw = large()
    bucket.pipe_file("cats/a.jsonl", raw)
    bucket.pipe_file("cats/b.jsonl", raw[: raw.index(b"\n", 99_000) + 1])
    convert_to_folder("s3://cats/*.jsonl", tmp_path / "far", max_shard_size=3_000_000, threads=2)
    near = [write(raw, "a.jsonl"), write(raw[: raw.index(b"\n", 99_000) + 1], "b.jsonl")]
    convert_to_folder(near, tmp_path / "near", max_shard_size=3_000_000)
    assert content(tmp_path / "far") == content(tmp_path / "near")
    assert len(content(tmp_path / "far")) == 6


@pytest.mark.parametrize("times", [1, 3])
def test_a_line_that_is_cut_in_mid_read_loses_and_doubles_nothing(
    bucket: s3fs.S3FileSystem, line: Line, write: Write, tmp_path: Path, times: int
) -> None:
    raw = large()
    bucket.pipe_file("cats/a.jsonl", raw)
    line.cut_after(2_000_000, times)
    convert_to_folder("s3://cats/a.jsonl", tmp_path / "far", max_shard_size=3_000_000, threads=2)
    assert line.cuts == times
    convert_to_folder(write(raw), tmp_path / "near", max_shard_size=3_000_000)
    assert content(tmp_path / "far") == content(tmp_path / "near")


def test_a_line_that_stays_cut_is_a_sentence_and_leaves_nothing(
    bucket: s3fs.S3FileSystem, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    bucket.pipe_file("cats/a.jsonl", large())
    line.cut_after(3_000_000, 10**6)
    with pytest.raises(SourceError, match=r"^s3://cats/a\.jsonl: cannot be read: "):
        convert_to_folder("s3://cats/a.jsonl", tmp_path / "far", max_shard_size=3_000_000, threads=2)
    assert not (tmp_path / "far").exists()


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_one_file_is_sent_in_parts_and_whole(
    bucket: s3fs.S3FileSystem, write: Write, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cats_alpaca.writing._PART_BYTES", 5 << 20)
    source = write(large())
    convert(source, tmp_path / f"rows.{ending}")
    convert(source, f"s3://cats/rows.{ending}")
    parts = int(bucket.info(f"cats/rows.{ending}")["ETag"].strip('"').partition("-")[2])
    assert parts > 1
    assert bucket.cat_file(f"cats/rows.{ending}") == (tmp_path / f"rows.{ending}").read_bytes()
    assert uploads(bucket) == []


def test_bad_lines_leave_no_object_and_the_old_one(
    bucket: s3fs.S3FileSystem, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cats_alpaca.writing._PART_BYTES", 5 << 20)
    bucket.pipe_file("cats/old.jsonl", b"old")
    source = write(large() + b"{")
    for name in ("old", "new"):
        with pytest.raises(StoriesError):
            convert(source, f"s3://cats/{name}.jsonl")
    assert objects(bucket, "cats") == {"old.jsonl": b"old"}
    assert uploads(bucket) == []


def test_a_release_goes_to_a_url_and_replaces_the_one_that_is_there(
    bucket: s3fs.S3FileSystem, write: Write, tmp_path: Path
) -> None:
    bucket.pipe_file("cats/release/notes.txt", b"mine")
    for count, size in ((300, 3_000), (200, 10**6)):
        source = write(records(count))
        build(source, out="s3://cats/release", max_shard_size=size)
        build(source, out=tmp_path / f"{count}" / "release", max_shard_size=size)
        expected = {**content(tmp_path / f"{count}" / "release"), "notes.txt": b"mine"}
        assert objects(bucket, "cats/release") == expected


def test_a_folder_may_be_named_by_a_url(write: Write, tmp_path: Path) -> None:
    for count in (300, 200):
        source = write(records(count))
        build(source, out=f"file://{tmp_path}/far/release", max_shard_size=3_000)
        build(source, out=tmp_path / f"{count}" / "release", max_shard_size=3_000)
        assert content(tmp_path / "far" / "release") == content(tmp_path / f"{count}" / "release")


def test_what_people_wrote_into_a_card_behind_a_url_is_kept(bucket: s3fs.S3FileSystem, write: Write) -> None:
    build(write(records(2)), out="s3://cats/release", fields={"license": "mit"})
    card = bucket.cat_file("cats/release/README.md")
    bucket.pipe_file("cats/release/README.md", card + b"\nThank you, Tama.\n")
    build(write(records(3)), out="s3://cats/release")
    card = bucket.cat_file("cats/release/README.md")
    assert b"Thank you, Tama." in card
    assert b"license: mit" in card
    assert b"num_examples: 3" in card


def test_a_foreign_card_behind_a_url_is_refused_unless_forced(bucket: s3fs.S3FileSystem, write: Write) -> None:
    bucket.pipe_file("cats/release/README.md", b"somebody's")
    with pytest.raises(ReleaseError, match="--force"):
        build(write(records(2)), out="s3://cats/release")
    assert objects(bucket, "cats/release") == {"README.md": b"somebody's"}
    build(write(records(2)), out="s3://cats/release", force=True)
    assert b"num_examples: 2" in objects(bucket, "cats/release")["README.md"]


def test_a_release_that_cannot_be_sent_is_taken_back(
    bucket: s3fs.S3FileSystem, line: Line, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    source = write(records(2))
    build(source, out=tmp_path / "release")
    failures = 0
    for count in range(1000, 40_000, 6000):  # one answer after the other is lost
        bucket.rm("cats", recursive=True)
        bucket.mkdir("cats")
        bucket.pipe_file("cats/release/notes.txt", b"mine")
        s3fs.S3FileSystem.clear_instance_cache()
        line.cuts = 0
        line.cut_after(count)
        try:
            build(source, out="s3://cats/release")
            expected = content(tmp_path / "release")
        except OSError:
            failures, expected = failures + 1, {}
        line.allowed = None
        found = objects(bucket, "cats/release")
        # Of a part that was finished, nobody may take the trouble away.
        assert {n: c for n, c in found.items() if "unfinished" not in n} == {"notes.txt": b"mine", **expected}
        # The lost answer may be the one with an upload's id, and then nobody can name that upload.
        assert len(uploads(bucket)) <= 1
    assert failures > 1


SMALL: dict[str, Any] = {"max_shard_size": 300_000, "block_bytes": 50_000}
BUILD = f"""
import sys
from cats_alpaca import build
build(sys.argv[1], out="s3://cats/release", threads=1, **{SMALL})
"""


@pytest.fixture
def stopped(bucket: s3fs.S3FileSystem, write: Write, tmp_path: Path) -> Iterator[str]:
    """Give the source of a build that was killed behind a URL when it had finished a part."""
    source = write(large(8_000))
    build(source, out=tmp_path / "release", **SMALL)
    process = subprocess.Popen([sys.executable, "-c", BUILD, source])
    while len(finished(bucket)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    yield source
    assert objects(bucket, "cats/release") == content(tmp_path / "release")


def finished(bucket: s3fs.S3FileSystem) -> dict[str, Any]:
    """Give what the manifest behind the URL says."""
    bucket.invalidate_cache()
    try:
        done: dict[str, Any] = json.loads(bucket.cat_file("cats/release/.build-unfinished/manifest.json"))["done"]
    except FileNotFoundError:
        return {}
    return done


def made_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the portions that are made from now on."""
    numbers: list[int] = []

    def make(number: int, *arguments: Any, **how: Any) -> Outcome:
        numbers.append(number)
        return make_and_send(number, *arguments, **how)

    monkeypatch.setattr("cats_alpaca.manifest.make_and_send", make)
    return numbers


def test_a_build_that_was_killed_behind_a_url_goes_on(
    bucket: s3fs.S3FileSystem, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, again = len(finished(bucket)), made_again(monkeypatch)
    assert not bucket.exists("cats/release/README.md")
    build(stopped, out="s3://cats/release", resume=True, **SMALL)
    assert again
    assert set(again) == set(range(done, done + len(again)))


def test_a_shard_that_is_another_by_now_is_made_again(
    bucket: s3fs.S3FileSystem, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry["files"] for entry in finished(bucket).values()]
    changed, gone = next(iter(entries[0])), next(iter(entries[1]))
    bucket.pipe_file(changed, b"x" * bucket.size(changed))
    bucket.rm_file(gone)
    again = made_again(monkeypatch)
    build(stopped, out="s3://cats/release", resume=True, **SMALL)
    assert {0, 1} <= set(again)
    assert 2 not in again


def test_what_a_build_that_broke_off_keeps_behind_a_url_is_said(
    bucket: s3fs.S3FileSystem, run: Run, write: Write, tmp_path: Path
) -> None:
    whole = gzip.compress(large(3000))
    sources = ["--train", write(large(3000)), "--train", write(whole[:-9], "b.jsonl.gz")]
    command = ["build", *sources, "--out", "s3://cats/release", "--max-shard-size", "500kB"]
    broken = run(*command)
    assert broken.returncode == 1
    assert "s3://cats/release/.build-unfinished keeps what is finished; go on with --resume\n" in broken.stderr
    (tmp_path / "b.jsonl.gz").write_bytes(whole)
    resumed = run(*command, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert not [name for name in objects(bucket, "cats/release") if "unfinished" in name]


def test_shards_that_are_there_get_their_names_and_the_card_comes_last(
    bucket: s3fs.S3FileSystem, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_bytes(b"card")
    for number in range(40):
        bucket.pipe_file(f"cats/tries/{number}", b"%d" % number)
    made = {f"data/chat/train-{number:05d}-of-00040.parquet": f"s3://cats/tries/{number}" for number in range(40)}
    upload("s3://cats/release", {"README.md": tmp_path / "README.md"}, made)
    expected = {name: source.rpartition("/")[2].encode() for name, source in made.items()}
    assert objects(bucket, "cats/release") == {"README.md": b"card", **expected}
    assert objects(bucket, "cats/tries") == {}
    times = {path: info["LastModified"] for path, info in bucket.find("cats/release", detail=True).items()}
    assert max(times.values()) == times["cats/release/README.md"]


def test_a_shard_that_cannot_get_its_name_takes_all_back(bucket: s3fs.S3FileSystem, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"card")
    bucket.pipe_file("cats/release/notes.txt", b"mine")
    bucket.pipe_file("cats/tries/0", b"0")
    made = {f"data/chat/{n}": f"s3://cats/tries/{n}" for n in range(2)}
    with pytest.raises(OSError, match="tries/1"):
        upload("s3://cats/release", {"README.md": tmp_path / "README.md"}, made)
    assert objects(bucket, "cats/release") == {"notes.txt": b"mine"}


@pytest.mark.parametrize(("place", "several"), [("s3://cats/release", True), ("file:///tmp", False), ("here", False)])
def test_only_a_server_is_asked_several_things_at_a_time(bucket: s3fs.S3FileSystem, place: str, several: bool) -> None:
    both = threading.Barrier(2)

    def meet(item: int) -> int:
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=5 if several else 0.1)
        return item

    assert each_at(place, meet, [3, 1]) == [3, 1]
    assert both.broken is not several


def test_the_commands_read_and_write_urls(bucket: s3fs.S3FileSystem, run: Run) -> None:
    bucket.pipe_file("cats/a.jsonl", b"".join(json.dumps(record).encode() + b"\n" for record in records(5)))
    for arguments in (["convert", "s3://cats/a.jsonl", "s3://cats/rows/"], ["build", "--train", "s3://cats/a.jsonl"]):
        done = run(*arguments, *(["--out", "s3://cats/release"] if "build" in arguments else []))
        assert (done.returncode, done.stderr.splitlines()[0]) == (0, "5 lines read = 5 kept + 0 rejected")
    bucket.invalidate_cache()
    for place in ("cats/rows", "cats/release/data/alpaca"):
        with bucket.open(f"{place}/train-00000-of-00001.parquet") as stream:
            assert pq.read_table(stream).num_rows == 5
    done = run("build", "--train", "s3://cats/a.jsonl", "--out", "s3://cats/release", "--check")
    assert (done.returncode, "needs a folder of this machine" in done.stderr) == (2, True)


@pytest.mark.parametrize("place", ["s3://nobody/rows.jsonl", "s3://nobody/rows/"])
def test_a_bucket_that_is_not_there_is_one_sentence(
    bucket: s3fs.S3FileSystem, run: Run, write: Write, place: str
) -> None:
    done = run("convert", write(records(2)), place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error: " in done.stderr
