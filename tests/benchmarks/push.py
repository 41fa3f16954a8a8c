"""Publishes a generated release to a Hub on loopback, and prints what that takes beside what it must take.

    pip install '.[bench]'
    python tests/benchmarks/push.py [--gb 1]

Two questions. Does a push add much to hashing and sending the same bytes to the same server? And does a revision with
one row in a thousand added bring few new chunks, where the Hub keeps chunks cut by content? The cutter here is
FastCDC, with the Hub's mean size of 64 KiB.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cats_alpaca

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hub import TOKEN, Hub, running

LETTERS = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
    "アイウエオカキクケコ猫水食病院朝夜年月日人家族先生様子元気"
)


def stories(rows: int, seed: int) -> Iterator[dict[str, str]]:
    rng = random.Random(seed)
    for number in range(rows):
        text = "".join(rng.choices(LETTERS, k=240))
        yield {"id": f"{seed}-{number}", "question": text[:40], "answer": text[40:]}


def write(file: Path, rows: int, extra: int = 0, spread: bool = False) -> Path:
    """Write stories, and some more: behind them, or spread evenly among them."""
    more = stories(extra, 2)
    with file.open("w", encoding="utf-8") as stream:
        for number, story in enumerate(stories(rows, 1)):
            stream.write(json.dumps(story, ensure_ascii=False) + "\n")
            if spread and number % (rows // extra) == 0 and (one := next(more, None)):
                stream.write(json.dumps(one, ensure_ascii=False) + "\n")
        for one in more:
            stream.write(json.dumps(one, ensure_ascii=False) + "\n")
    return file


def release_of(file: Path) -> Path:
    folder = file.parent / f"release of {file.stem}"
    cats_alpaca.build(train=str(file), out=folder, fields={"title": "Cats", "license": "cc0-1.0"})
    return folder


def files_of(release: Path) -> list[Path]:
    return sorted(release.glob("data/*/*.parquet"))


def push(hub: Hub, release: Path, home: Path) -> float:
    """Push, and give the seconds from the first request that writes to the answer to the commit."""
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "cats_alpaca", "push", "you/cats", "--from", str(release), "--yes"]
    subprocess.run([*command, "--verify", "sample"], env=env, check=True, capture_output=True)
    read = [request for request in hub.requests if request.label == "GET refs"][-1]
    commit = [request for request in hub.requests if request.label == "POST commit"][-1]
    return commit.answered - read.answered


def hash_and_send(hub: Hub, release: Path) -> float:
    """Do only what nobody can spare: hash every file, and send its bytes."""
    started = time.monotonic()
    for file in files_of(release):
        with file.open("rb") as stream:
            oid = hashlib.file_digest(stream, "sha256").hexdigest()
        connection = http.client.HTTPConnection("localhost", hub.port)
        with file.open("rb") as stream:
            connection.request("PUT", f"/storage/{oid}", stream, {"Content-Length": str(file.stat().st_size)})
            connection.getresponse().read()
        connection.close()
    return time.monotonic() - started


def chunks(release: Path) -> dict[str, int]:
    from fastcdc import fastcdc

    found = {}
    for file in files_of(release):
        for chunk in fastcdc(str(file), 8 << 10, 64 << 10, 128 << 10, hf=hashlib.sha256):
            found[chunk.hash] = chunk.length
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0, help="size of the release's files, about")
    gb = parser.parse_args().gb
    rows = int(gb * 1e9 / 4 / 480)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = release_of(write(folder / "first.jsonl", rows))
        size = sum(file.stat().st_size for file in files_of(release))
        print(f"release: {rows:,} stories, {len(files_of(release))} files, {size / 1e9:.2f} GB", flush=True)
        for _ in range(3):
            with running() as hub:
                bare = hash_and_send(hub, release)
            with running() as hub:
                pushed = push(hub, release, folder / "home")
            print(f"hash and send {bare:.2f} s, push {pushed:.2f} s: {pushed / bare:.2f} ×", flush=True)
        before = chunks(release)
        for where in ("behind the others", "spread among the others"):
            more = release_of(write(folder / f"{where}.jsonl", rows, rows // 1000, where.startswith("spread")))
            after = chunks(more)
            new = sum(length for name, length in after.items() if name not in before)
            print(f"one row in a thousand more, {where}: {new / sum(after.values()):.1%} of its chunks' bytes are new")


if __name__ == "__main__":
    main()
