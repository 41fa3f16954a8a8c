"""Publishing, against a Hub on loopback and with the real client: one commit or none, whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import TOKEN, Hub, Repo, running
from support import code_blocks

import cats_alpaca
from cats_alpaca import feedback
from cats_alpaca.hub.faults import wait_asked_for
from cats_alpaca.hub.local import read_release
from cats_alpaca.hub.verify import Stranger, differences

REPO = "you/cats"
Push = Callable[..., "subprocess.CompletedProcess[str]"]


def story(number: int, answer: str = "はい。") -> dict[str, str]:
    return {"id": f"n-{number}", "question": f"猫{number}はなぜ鳴くの？", "answer": answer}


def release_of(stories: Iterable[dict[str, str]], folder: Path) -> Path:
    file = folder / "stories.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(one) + "\n" for one in stories), "utf-8")
    cats_alpaca.build(train=str(file), out=folder / "release", fields={"title": "Cats", "license": "cc0-1.0"})
    return folder / "release"


def environment(hub: Hub, home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ours = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    temporary = home.parent / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {**inherited, **ours, "TMPDIR": str(temporary)}


def push_with(hub: Hub, home: Path, release: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(release), *arguments]
    settings = {**environment(hub, home), **env}
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300, cwd=home.parent)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as server:
        yield server
    assert not server.leaks, "a token was sent to the storage"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let what a test starts hear SIGINT; where `pytest &` runs, the shell has all of it ignore that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return release_of(map(story, range(3)), tmp_path)


@pytest.fixture
def push(hub: Hub, tmp_path: Path) -> Push:
    def _push(release: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return push_with(hub, tmp_path / "home", release, *(arguments or ("--yes",)), **env)

    return _push


def test_stories_are_read_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "cats.jsonl"
    file.write_text("".join(json.dumps(story(number)) + "\n" for number in range(5000)), "utf-8")
    env = environment(hub, tmp_path / "home")
    raw = "repo_id='you/raw', repo_type='dataset'"
    upload = f"a.upload_file(path_or_fileobj='cats.jsonl', path_in_repo='raw/cats.jsonl', {raw})"
    code = f"from huggingface_hub import HfApi; a = HfApi(); a.create_repo({raw}); {upload}"
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True)

    def convert(source: str, target: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cats_alpaca", "convert", source, target]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    for source, target in (("cats.jsonl", "here.parquet"), ("hf://datasets/you/raw/raw/*.jsonl", "hub.parquet")):
        assert convert(source, target).returncode == 0
    assert (tmp_path / "hub.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    missing = convert("hf://datasets/you/raw/nothing.jsonl", "no.parquet")
    assert missing.returncode == 1
    assert "hf://datasets/you/raw/nothing.jsonl: there is no such file" in missing.stderr
    assert "cats-alpaca push OWNER/NAME" in convert("cats.jsonl", "hf://datasets/you/raw/rows/").stderr
    assert len(hub.repos["you/raw"].history()) == 1


def published(hub: Hub, branch: str = "main") -> dict[str, bytes]:
    """Give every file of a branch but the one that the Hub made itself."""
    repo = hub.repos[REPO]
    head = repo.branches[branch]
    return {path: hub.content(repo, head, path) for path in repo.commits[head] if path != ".gitattributes"}


def content(release: Path) -> dict[str, bytes]:
    return {file.relative_to(release).as_posix(): file.read_bytes() for file in release.rglob("*") if file.is_file()}


def data(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: found for path, found in files.items() if path.startswith("data/")}


def sent(hub: Hub, label: str = "PUT storage") -> int:
    return hub.labels().count(label)


def test_a_release_becomes_one_commit_and_the_same_release_none(hub: Hub, push: Push, release: Path) -> None:
    first = push(release)
    assert first.returncode == 0, first.stderr
    assert data(published(hub)) == data(content(release))
    assert published(hub).keys() == content(release).keys()
    commit = hub.repos[REPO].branches["main"]
    assert hub.repos[REPO].history() == ["Publish 3 stories (3 train)"]
    assert first.stdout.endswith(f"{hub.url}/datasets/{REPO}/commit/{commit}\n")

    uploads = sent(hub)
    again = push(release)
    assert (again.returncode, len(hub.repos[REPO].history()), sent(hub)) == (0, 1, uploads)
    assert "Nothing to do" in again.stderr
    assert "POST commit" not in hub.labels()[hub.labels().index("POST commit") + 1 :]


def test_one_story_more_is_one_commit_of_what_changed(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    before = len(hub.objects)
    more = release_of([*map(story, range(3)), story(3), story(0, "いいえ。")][1:], tmp_path / "more")
    done = push(more)
    assert done.returncode == 0, done.stderr
    assert len(hub.repos[REPO].history()) == 2
    assert "rows of alpaca: train 3 → 4" in done.stdout
    assert "stories added: 1 (n-3)" in done.stdout
    assert "stories changed: 1 (n-0)" in done.stdout
    assert data(published(hub)) == data(content(more))
    changed = {path for path, found in content(more).items() if found != content(release).get(path)}
    assert len(hub.objects) - before == len(changed - {"README.md"})


def test_a_file_that_did_not_change_is_not_sent(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    uploads = sent(hub)
    # The id is in the `stories` config only.
    other = release_of([{**story(number), "id": f"m-{number}"} for number in range(3)], tmp_path / "other")
    done = push(other)
    assert sent(hub) == uploads + 1
    assert "1 added" not in done.stderr
    assert re.search(r"0 added, 2 updated, 0 deleted, \d+ kept", done.stderr)
    assert "stories retired: 3 (n-0, n-1, n-2)" in done.stdout


def test_the_library_says_what_it_did(hub: Hub, release: Path, tmp_path: Path) -> None:
    code = (
        "import cats_alpaca; "
        f"push = cats_alpaca.push_to_hub({REPO!r}, folder={str(release)!r}, tag='v1.0.0', message='Cats!'); "
        "print(push.commit, push.committed, *push.added, push.updated, push.deleted, push.kept, push.tag)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(hub, tmp_path), capture_output=True, text=True, check=True
    )
    repo = hub.repos[REPO]
    added = " ".join(sorted(content(release)))
    assert done.stdout == f"{repo.branches['main']} True {added} [] [] [] v1.0.0\n"
    assert repo.history() == ["Cats!"]
    assert repo.tags == {"v1.0.0": repo.branches["main"]}


LOAD = """
import hashlib, json, sys
from datasets import load_dataset
for config in ("alpaca", "chat", "prompt_completion", "stories"):
    for streaming in (False, True):
        rows = load_dataset(sys.argv[1], config, streaming=streaming)
        for split, found in rows.items():
            print(config, split, hashlib.sha256(json.dumps(list(found)).encode()).hexdigest())
"""


def test_what_is_published_loads_as_what_is_packaged(hub: Hub, tmp_path: Path) -> None:
    done = push_with(hub, tmp_path / "home", cats_alpaca.path(), "--yes")
    assert done.returncode == 0, done.stderr

    def load(source: str) -> str:
        env = environment(hub, tmp_path / "other home")
        command = [sys.executable, "-c", LOAD, source]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert load(REPO) == load(str(cats_alpaca.path()))


def test_a_release_of_many_files_loads_as_what_its_files_hold(tmp_path: Path) -> None:
    release_of((story(n) for n in range(60)), tmp_path / "one")
    source, many = str(tmp_path / "one" / "stories.jsonl"), tmp_path / "many"
    cats_alpaca.build(source, out=many, test_fraction=0.2, max_shard_size=1000, fields={"license": "mit"})
    release = read_release(many)
    assert release.facts["chat"]["train"].files > 3
    with Stranger() as stranger:
        assert differences(stranger, release, str(many)) == []
        assert differences(stranger, release, str(many), sample=True) == []
        shards = sorted((many / "data" / "chat").glob("train-*"))
        first, second = shards[0].read_bytes(), shards[1].read_bytes()
        shards[0].write_bytes(second)
        shards[1].write_bytes(first)
        stranger.forget()
        assert "the rows of chat/train are others" in differences(stranger, release, str(many))


def test_only_the_files_of_a_release_are_touched(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    stale = "data/chat/test-00000-of-00001.parquet"
    kept = {"data/mine.csv": b"a,b", "assets/tama.jpg": b"jpg", "LICENSE": b"mine", "data/x/train.parquet": b"x"}
    for path, bytes_ in {stale: b"stale", **kept}.items():
        hub.edit(REPO, path, bytes_)
    (release / "notes.txt").write_text("for me alone")
    done = push(release)
    assert done.returncode == 0, done.stderr
    found = published(hub)
    assert stale not in found
    assert "notes.txt" not in found
    assert {path: found[path] for path in kept} == kept
    assert len(hub.repos[REPO].history()) == 1 + 5 + 1


def test_what_people_write_at_the_hub_is_kept(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    shown = published(hub)["README.md"].decode()
    assert f'load_dataset(\n    "{REPO}",\n    "alpaca",\n    split="train",\n)' in shown
    edited = shown.replace("\nlicense:", "\nmine: 7\nlicense:") + "\nThank you, Tama.\n"
    hub.edit(REPO, "README.md", edited.encode())
    before = len(hub.repos[REPO].history())
    assert push(release_of(map(story, range(5)), tmp_path / "other")).returncode == 0
    shown = published(hub)["README.md"].decode()
    assert "Thank you, Tama." in shown
    assert "\nmine: 7\n" in shown
    assert "num_examples: 5" in shown
    assert push(tmp_path / "other" / "release").returncode == 0
    assert len(hub.repos[REPO].history()) == before + 1


TOWERS = """\
- config_name: towers
  data_files: towers/*.parquet
dataset_info:
- config_name: towers
  features: [{name: metres, dtype: int64}]
  splits: [{name: train, num_examples: 2, num_bytes: 16}]
"""


def test_a_config_that_somebody_added_at_the_hub_is_kept(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    shown = published(hub)["README.md"].decode()
    pq.write_table(pa.table({"metres": [2, 3]}), tmp_path / "a.parquet")
    hub.edit(REPO, "towers/a.parquet", (tmp_path / "a.parquet").read_bytes())
    hub.edit(
        REPO,
        "README.md",
        shown.replace("dataset_info:\n", TOWERS.replace("dataset_", "# Towers, too.\ndataset_")).encode(),
    )
    done = push(release_of(map(story, range(5)), tmp_path / "other"))
    assert done.returncode == 0, done.stderr
    assert "rows of towers: train 2\n" in done.stdout
    assert "# Towers, too.\ndataset_info:\n" in published(hub)["README.md"].decode()
    code = f"import datasets; print(*datasets.load_dataset({REPO!r}, 'towers')['train']['metres'])"
    env = environment(hub, tmp_path / "stranger")
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout == b"2 3\n"
    assert push(tmp_path / "other" / "release", "--dry-run").stdout.startswith(f"{REPO} main at ")
    assert "Nothing to do" in push(tmp_path / "other" / "release").stderr


def test_a_config_added_to_a_release_needs_its_files_at_the_hub(hub: Hub, push: Push, release: Path) -> None:
    spoil(release, "dataset_info:\n", TOWERS)
    done = push(release)
    assert (done.returncode, "has no towers/*.parquet" in done.stderr) == (1, True), done.stderr
    assert not hub.repos
    hub.repos[REPO] = Repo()
    hub.repos[REPO].commit({".gitattributes": b"", "towers/a.parquet": b"PAR1"}, "initial commit")
    assert push(release).returncode == 0
    assert "config_name: towers" in published(hub)["README.md"].decode()


@pytest.mark.parametrize("path", ["data/alpaca/train-00000-of-00002.parquet", "data/alpaca/train-mine.parquet"])
def test_somebodys_data_are_not_replaced(hub: Hub, push: Push, release: Path, path: str) -> None:
    repo = hub.repos[REPO] = Repo()
    repo.commit({".gitattributes": b"", "README.md": b"# Mine\r\n", path: b"mine"}, "initial commit")
    done = push(release)
    assert (done.returncode, f"{REPO} holds {path}" in done.stderr) == (1, True), done.stderr
    assert repo.history() == []


def test_somebodys_card_stays_beside_ours(hub: Hub, push: Push, release: Path) -> None:
    repo = hub.repos[REPO] = Repo()
    repo.commit(
        {".gitattributes": b"", "README.md": "---\npretty: yes\n---\n\nうちの猫。\n".encode()}, "initial commit"
    )
    assert push(release).returncode == 0
    assert "うちの猫。" in published(hub)["README.md"].decode()


def test_a_repository_that_cannot_be_seen_is_not_asked_for_for_ever(hub: Hub, push: Push, release: Path) -> None:
    hub.fail("GET info", "404", times=10**6)
    done = push(release)
    assert (done.returncode, "cannot see it" in done.stderr) == (1, True), done.stderr
    assert len(hub.requests) < 50


def test_what_lies_in_the_working_folder_is_not_taken_for_the_repository(
    hub: Hub, push: Push, release: Path, tmp_path: Path
) -> None:
    (tmp_path / "datasets.py").write_text("raise SystemExit('not this one')")
    shutil.copytree(release_of([story(7)], tmp_path / "other"), tmp_path / REPO)
    done = push(release)
    assert done.returncode == 0, done.stderr


def test_a_release_without_a_licence_of_its_own_keeps_none(hub: Hub, push: Push, release: Path) -> None:
    push(release)
    shown = published(hub)["README.md"].decode()
    edited = shown.replace("license: cc0-1.0", "license: other\nlicense_name: mine")
    hub.edit(REPO, "README.md", edited.encode())
    push(release)
    assert "license_name" not in published(hub)["README.md"].decode()


def test_the_code_on_the_published_card_runs(hub: Hub, tmp_path: Path) -> None:
    """polars and DuckDB know only the Hub's own address."""
    assert push_with(hub, tmp_path / "home", cats_alpaca.path(), "--yes", "--tag", "v1.0.0").returncode == 0
    blocks = code_blocks(published(hub)["README.md"].decode(), "load")
    ours = [block for block in blocks if "polars" not in block and "duckdb" not in block]
    assert len(ours) == 3
    for block in ours:
        assert "v1.0.0" in block
        env = environment(hub, tmp_path / "stranger")
        done = subprocess.run([sys.executable, "-c", block], env=env, capture_output=True, text=True, cwd=tmp_path)
        # Now and then, `datasets` that streams aborts when Python ends, after everything has been printed.
        assert done.returncode in ((0, -signal.SIGABRT) if "streaming" in block else (0,)), done.stderr
        assert done.stdout


LOAD_ANSWERS = """
import sys
from datasets import load_dataset
for config, column in (("stories", "answer"), ("preference", "chosen"), ("kto", "completion")):
    try:
        print(config, *load_dataset(sys.argv[1], config, split="train", revision=sys.argv[2])[column])
    except ValueError:
        print(config)
"""


def test_feedback_becomes_rows_and_goes_again(hub: Hub, release: Path, tmp_path: Path) -> None:
    """The loop as a whole: told, judged, consented, built, pushed, loaded; forgotten, built, pushed, gone."""
    correction = "もう高齢です。今日のうちに病院で診てもらいましょう。"
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        owner = {"CATS_ALPACA_STORE": str(tmp_path / "cats.sqlite"), "CATS_ALPACA_CONTRIBUTOR": feedback.join(store)}
    env = {**environment(hub, tmp_path / "home"), **owner}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "cats_alpaca", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def publish(tag: str) -> dict[str, str]:
        stories = str(release.parent / "stories.jsonl")
        run("build", "--train", stories, "--license", "cc0-1.0", "--feedback", str(tmp_path / "cats.sqlite"))
        run("push", REPO, "--from", "release", "--yes", "--tag", tag)
        run("feedback", "published", REPO, tag, "--release", "release")
        stranger = {**env, "HF_HOME": str(tmp_path / f"stranger of {tag}")}
        command = [sys.executable, "-c", LOAD_ANSWERS, REPO, tag]
        done = subprocess.run(command, env=stranger, capture_output=True, text=True, check=True, cwd=tmp_path)
        return {line.split()[0]: line for line in done.stdout.splitlines()}

    run("feedback", "add", "こはる", "夜からくしゃみが続いた", "--date", "2024-11-20", "--share")
    turn = run("feedback", "ask", "こはる", "こはるがくしゃみをしています。").split()[0]
    run("feedback", "rate", turn, "down", "--correction", correction)
    run("feedback", "consent", "--give", "train", "--give", "publish")
    first = publish("v1.0.0")
    assert correction in first["stories"]
    assert correction in first["kto"]

    told = run("feedback", "forget", turn)
    assert f"{REPO} at v1.0.0: 1 turn" in told
    second = publish("v1.1.0")
    assert not any(correction in line for line in second.values())
    assert "はい。" in second["stories"]
    assert not any(path.startswith("data/kto/") for path in published(hub))
    assert not any(correction.encode() in found for found in published(hub).values())
    assert len(hub.repos[REPO].history()) == 2


READ_IN_JAVASCRIPT = """
import { createHash } from "node:crypto";
import { downloadFile, listFiles } from "@huggingface/hub";
const [hubUrl, accessToken, name] = process.argv.slice(2);
const repo = { type: "dataset", name };
const digests = {};
for await (const file of listFiles({ repo, hubUrl, accessToken, recursive: true })) {
  if (file.type !== "file") continue;
  const blob = await downloadFile({ repo, hubUrl, accessToken, path: file.path, xet: false });
  digests[file.path] = createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
}
console.log(JSON.stringify(digests));
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_the_hubs_javascript_client_reads_the_same(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    assert push(release, "--yes", "--private").returncode == 0
    script = tmp_path / "read.mjs"
    script.write_text(READ_IN_JAVASCRIPT)
    subprocess.run(["npm", "install", "@huggingface/hub@2"], cwd=tmp_path, check=True, capture_output=True)
    command = ["node", str(script), hub.url, TOKEN, REPO]
    read = json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)
    del read[".gitattributes"]
    assert read == {path: hashlib.sha256(found).hexdigest() for path, found in published(hub).items()}


def test_a_private_repository_is_private_and_loads(hub: Hub, push: Push, release: Path) -> None:
    assert push(release, "--yes", "--private").returncode == 0
    assert hub.repos[REPO].private
    assert push(release, "--yes", "--private").returncode == 0


def test_private_is_refused_for_what_is_public(hub: Hub, push: Push, release: Path) -> None:
    push(release)
    done = push(release, "--yes", "--private")
    assert (done.returncode, "is public" in done.stderr) == (1, True)


def test_a_tag_is_set_also_when_there_is_nothing_to_send(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    commit = hub.repos[REPO].branches["main"]
    assert push(release, "--yes", "--tag", "v1.0.0").returncode == 0
    assert push(release, "--yes", "--tag", "v1.0.0").returncode == 0
    assert hub.repos[REPO].tags == {"v1.0.0": commit}
    before = len(hub.requests)
    other = push(release_of([story(9)], tmp_path / "other"), "--yes", "--tag", "v1.0.0")
    assert other.returncode == 1
    assert "The tag v1.0.0 is on" in other.stderr
    assert hub.repos[REPO].tags == {"v1.0.0": commit}
    assert not any(request.label.startswith(("POST", "PUT")) for request in hub.requests[before:])


def test_a_pull_request_is_made_once(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    other = release_of([story(9)], tmp_path / "other")
    hub.fail("POST commit", "drop-after")
    done = push(other, "--yes", "--create-pr")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("/discussions/1\n")
    assert push(other, "--yes", "--create-pr").returncode == 0
    assert len(hub.repos[REPO].pulls) == 1
    assert data(published(hub, "refs/pr/1")) == data(content(other))
    assert data(published(hub)) == data(content(release))
    assert push(other, "--yes", "--create-pr", "--tag", "v2").returncode == 2


def test_a_branch_is_pushed_to_and_one_that_is_not_there_is_an_error(hub: Hub, push: Push, release: Path) -> None:
    push(release)
    missing = push(release, "--yes", "--revision", "next")
    assert (missing.returncode, "no branch next" in missing.stderr) == (1, True)
    hub.repos[REPO].branches["next"] = next(iter(hub.repos[REPO].commits))
    assert push(release, "--yes", "--revision", "next").returncode == 0
    assert data(published(hub, "next")) == data(content(release))
    assert len(hub.repos[REPO].history("main")) == 1


def test_a_script_of_the_repositorys_name_is_removed_when_asked(hub: Hub, push: Push, release: Path) -> None:
    push(release)
    hub.edit(REPO, "cats.py", b"import datasets")
    refused = push(release)
    assert refused.returncode == 1
    assert "--delete-script" in refused.stderr
    assert push(release, "--yes", "--delete-script").returncode == 0
    assert "cats.py" not in published(hub)
    assert len(hub.repos[REPO].history()) == 3


@pytest.mark.parametrize(
    ("repo_id", "role", "env", "says"),
    [
        ("you/cats", {"role": "read"}, {}, "may not write to you/cats"),
        ("you/cats", {"role": "write"}, {"HF_TOKEN": "hf_wrong"}, "The token is not valid"),
        ("you/cats", {"role": "write"}, {"HF_TOKEN": ""}, "No token was found"),
        ("you/cats", {"role": "write"}, {"HF_TOKEN": "hf_ä"}, "holds a character that no token has"),
        ("dogs/cats", {"role": "write"}, {}, "no member of dogs"),
        ("readers/cats", {"role": "write"}, {}, "may only read in readers"),
        ("cats", {"role": "write"}, {}, "Say whose repository"),
        ("you/../cats", {"role": "write"}, {}, "cannot be a repository's name"),
        (
            "you/cats",
            {
                "role": "fineGrained",
                "fineGrained": {"scoped": [{"entity": {"name": "you"}, "permissions": ["repo.content.read"]}]},
            },
            {},
            "may not write to you/cats",
        ),
    ],
)  # fmt: skip
def test_what_may_not_be_is_refused_before_anything_is_written(
    hub: Hub, release: Path, tmp_path: Path, repo_id: str, role: dict[str, object], env: dict[str, str], says: str
) -> None:
    hub.role = role
    command = [sys.executable, "-m", "cats_alpaca", "push", repo_id, "--from", str(release), "--yes"]
    settings = {**environment(hub, tmp_path / "home"), **env}
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not any(request.label.startswith(("POST", "PUT")) for request in hub.requests)


def test_a_fine_grained_token_that_may_write_is_enough(hub: Hub, push: Push, release: Path) -> None:
    scope = {"entity": {"type": "user", "name": "you"}, "permissions": ["repo.content.read", "repo.write"]}
    hub.role = {"role": "fineGrained", "fineGrained": {"scoped": [scope]}}
    assert push(release).returncode == 0


def spoil(release: Path, old: str, new: str) -> None:
    readme = release / "README.md"
    text = readme.read_text("utf-8")
    assert old in text
    readme.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda release: (release / "README.md").unlink(), "holds no README.md"),
        (lambda release: spoil(release, "license: cc0-1.0\n", ""), "names no licence"),
        (lambda release: spoil(release, "num_examples: 3", "num_examples: 4"), "the numbers of alpaca"),
        (lambda release: spoil(release, "download_size: ", "download_size: 1"), "the numbers of alpaca"),
        (lambda release: spoil(release, "configs:", "configs: ["), "cannot be read"),
        (lambda release: spoil(release, "data_files:", "files:"), "has not the shape that build gives it"),
        (lambda release: spoil(release, "\n## Load it", "\n[More Information Needed]\n## Load it"), "a placeholder"),
        (lambda release: spoil(release, "<!-- made by cats-alpaca build", "<!-- "), "was not made by cats-alpaca"),
        (lambda release: next(release.glob("data/chat/*")).unlink(), "there is no such file"),
        (lambda release: next(release.glob("data/chat/*")).write_bytes(b"PAR1"), "cannot be read"),
        (
            lambda release: [
                (release / f"data/chat/train-{number:05d}-of-00100.parquet").write_bytes(
                    next(release.glob("data/chat/train-00000-of-00001.parquet")).read_bytes()
                )
                for number in range(100)
            ],
            "100 are the most",
        ),
    ],
)  # fmt: skip
def test_an_unfit_release_is_refused_without_a_request(
    hub: Hub, push: Push, release: Path, fault: Callable[[Path], object], says: str
) -> None:
    fault(release)
    done = push(release)
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr
    assert not [request for request in hub.requests if "agent" not in request.path]


def test_a_card_that_the_hub_refuses_leaves_no_repository(hub: Hub, push: Push, release: Path) -> None:
    spoil(release, "license: cc0-1.0", "license: [cc0-1.0]")
    done = push(release)
    assert (done.returncode, "license must be a string" in done.stderr) == (1, True), done.stderr
    assert not hub.repos


def test_a_dry_run_shows_the_plan_and_writes_nothing(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    push(release)
    before = len(hub.requests)
    shown = push(release_of(map(story, range(1, 5)), tmp_path / "other"), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "update  data/alpaca/train-00000-of-00001.parquet" in shown.stdout
    assert "rows of chat: train 3 → 4" in shown.stdout
    assert "stories added: 2 (n-3, n-4)" in shown.stdout
    assert "stories retired: 1 (n-0)" in shown.stdout
    assert "  -    num_examples: 3" in shown.stdout
    assert {request.label.split()[0] for request in hub.requests[before:]} <= {"GET", "HEAD"}
    assert len(hub.repos[REPO].history()) == 1


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_a_dry_run_says_what_a_push_would_stumble_over(
    hub: Hub, push: Push, release: Path, tmp_path: Path, token: str
) -> None:
    nowhere = push(release, "--dry-run", "--revision", "next", HF_TOKEN=token)
    assert (nowhere.returncode, "has no branch next" in nowhere.stderr) == ((1, True) if token else (0, False))
    push(release, "--yes", "--tag", "v1")
    commit = hub.repos[REPO].tags["v1"]
    assert push(release, "--dry-run", "--tag", "v1", HF_TOKEN=token).returncode == 0
    other = release_of([story(9)], tmp_path / "other")
    assert push(other, "--dry-run", "--tag", "v2", HF_TOKEN=token).returncode == 0
    taken = push(other, "--dry-run", "--tag", "v1", HF_TOKEN=token)
    assert (taken.returncode, f"The tag v1 is on {commit[:7]} already" in taken.stderr) == (1, True), taken.stderr
    public = push(other, "--dry-run", "--private", HF_TOKEN=token)
    assert (public.returncode, "is public" in public.stderr) == (1, True), public.stderr


@pytest.mark.parametrize("env", [{"HF_TOKEN": ""}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_a_dry_run_works_without_token_and_network(push: Push, release: Path, env: dict[str, str]) -> None:
    shown = push(release, "--dry-run", **env)
    assert shown.returncode == 0, shown.stderr
    assert "add     data/alpaca/train-00000-of-00001.parquet" in shown.stdout
    assert f"not checked: whether you may write to {REPO}" in shown.stdout
    assert ("not checked: what" in shown.stdout) == (env != {"HF_TOKEN": ""})


def test_without_a_terminal_nobody_is_asked(hub: Hub, push: Push, release: Path) -> None:
    done = push(release, "--private")
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert not hub.requests


@pytest.mark.parametrize(("typed", "status", "commits"), [("n\n", 1, 0), ("y\n", 0, 1)])
def test_on_a_terminal_the_plan_is_shown_and_somebody_is_asked(
    hub: Hub, release: Path, tmp_path: Path, typed: str, status: int, commits: int
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(release)]
    process = subprocess.Popen(
        command, env=environment(hub, tmp_path / "home"), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    shown, answered = b"", False
    while select.select([ours], [], [], 60)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
        if not answered and f"Publish this to {REPO}?".encode() in shown:
            answered = bool(os.write(ours, typed.encode()))
    assert process.wait(60) == status, shown.decode()
    assert b"add     data/alpaca/train-00000-of-00001.parquet" in shown
    assert len(hub.repos[REPO].history() if REPO in hub.repos else []) == commits


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("label", ["GET whoami", "POST commit"])
def test_a_push_goes_on_when_nobody_reads_its_output_any_more(
    hub: Hub, release: Path, tmp_path: Path, label: str, both: bool
) -> None:
    """As with `push --yes | head -1`: nobody reads the plan; or the plan is read, and not where to look at it."""
    reading, writing = os.pipe()
    complaints = subprocess.STDOUT if both else subprocess.PIPE
    command = [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(release), "--yes", "--tag", "v1"]
    hub.before(label, lambda: os.close(reading))
    process = subprocess.Popen(
        command, env=environment(hub, tmp_path / "home"), stdout=writing, stderr=complaints, text=True
    )
    os.close(writing)
    _, told = process.communicate(timeout=100)
    repo = hub.repos[REPO]
    assert process.returncode == 0
    assert repo.history() == ["Publish 3 stories (3 train)"]
    assert repo.tags == {"v1": repo.branches["main"]}
    if not both:
        assert "nobody reads the output any more" in told
        assert told.endswith(f"/commit/{repo.branches['main']}\n")
        assert "Exception" not in told


def test_the_token_is_never_shown(hub: Hub, release: Path, tmp_path: Path) -> None:
    secret = "hf_anotherSecret"
    command = [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(release), "--yes", "--token", secret]
    done = subprocess.run(
        command, env={**environment(hub, tmp_path / "home"), "HF_DEBUG": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    good = push_with(hub, tmp_path / "home", release, "--yes", HF_DEBUG="1")
    assert good.returncode == 0
    shown = done.stdout + done.stderr + good.stdout + good.stderr
    assert secret not in shown
    assert TOKEN not in shown
    assert not any(TOKEN.encode() in found for found in published(hub).values())
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes()


def test_without_xet_at_the_hub_plain_http_is_used(hub: Hub, push: Push, release: Path) -> None:
    done = push(release, "--yes", HF_HUB_DISABLE_XET="0")
    assert done.returncode == 0, done.stderr
    assert "plain HTTP" in done.stderr
    assert hub.repos[REPO].history() == ["Publish 3 stories (3 train)"]


def test_with_xet_at_the_hub_it_is_used(hub: Hub, push: Push, release: Path, tmp_path: Path) -> None:
    hub.xet = True
    for stories in (release, cats_alpaca.path()):
        done = push(stories, "--yes", HF_HUB_DISABLE_XET="0")
        assert done.returncode == 0, done.stderr
    assert len(hub.repos[REPO].history()) == 2
    assert {"POST xet-xorb", "POST xet-shard"} <= set(hub.labels())
    assert not {"POST lfs-batch", "PUT storage"} & set(hub.labels())


def test_what_the_hub_serves_is_compared_with_what_was_sent(hub: Hub, push: Push, release: Path) -> None:
    def rot() -> None:
        for oid, found in hub.objects.items():
            hub.objects[oid] = found.replace(b"parquet-cpp", b"parquet-CPP")

    hub.before("GET storage", rot)
    done = push(release)
    assert done.returncode == 1
    commit = hub.repos[REPO].branches["main"]
    assert "data/alpaca/train-00000-of-00001.parquet has another sha256" in done.stderr
    assert f"git revert --no-edit {commit}" in done.stderr


def test_a_large_release_is_verified_by_a_sample(hub: Hub, push: Push, release: Path) -> None:
    done = push(release, "--yes", "--verify", "sample")
    assert done.returncode == 0, done.stderr

    def swap() -> None:
        chat, alpaca = (
            next(found for path, found in hub.repos[REPO].commits[commit].items() if path.startswith(f"data/{config}/"))
            for config in ("chat", "alpaca")
        )
        hub.objects[str(chat)] = hub.objects[str(alpaca)]

    commit = hub.repos[REPO].branches["main"]
    del hub.repos[REPO]
    hub.objects.clear()
    hub.before("GET storage", lambda: None)
    commit = "?"

    def swap_after_commit() -> None:
        nonlocal commit
        commit = hub.repos[REPO].branches["main"]
        swap()

    hub.hooks["GET storage"] = [swap_after_commit]
    assert push(release, "--yes", "--verify", "sample").returncode == 1


def test_somebody_elses_commit_is_not_lost(hub: Hub, push: Push, release: Path) -> None:
    push(release)
    hub.edit(REPO, "README.md", published(hub)["README.md"].replace(b"cc0-1.0", b"mit"))
    hub.before("POST commit", lambda: hub.edit(REPO, "mine.txt", b"mine"))
    done = push(release)
    assert done.returncode == 0, done.stderr
    assert "somebody else committed" in done.stderr
    assert published(hub)["mine.txt"] == b"mine"
    assert len(hub.repos[REPO].history()) == 4


def test_after_three_races_it_gives_up(hub: Hub, push: Push, release: Path) -> None:
    for number in range(3):
        hub.before("POST commit", partial(hub.edit, REPO, f"{number}.txt", b""))
    done = push(release)
    assert (done.returncode, "Somebody else committed" in done.stderr) == (1, True)
    assert not data(published(hub))
    assert push(release).returncode == 0


def test_a_full_storage_is_an_error_that_sends_nothing(hub: Hub, push: Push, release: Path) -> None:
    hub.fail("POST lfs-batch", "403-quota", times=9)
    done = push(release)
    assert (done.returncode, "storage limit" in done.stderr, sent(hub)) == (1, True, 0)


# Every request of a push, in its order: how often a label has come before, and the label.
REQUESTS = (
    (0, "GET whoami"),
    (0, "GET info"),
    (0, "POST validate-yaml"),
    (0, "POST create"),
    (1, "GET info"),
    (0, "GET tree"),
    (0, "GET refs"),
    (1, "POST validate-yaml"),
    (0, "POST preupload"),
    (0, "POST lfs-batch"),
    (0, "PUT storage"),
    (0, "POST lfs-verify"),
    (0, "POST commit"),
    # From here on it is loaded again.
    (0, "HEAD resolve"),
    (0, "HEAD resolve-cache"),
    (0, "GET resolve-cache"),
    (1, "HEAD resolve"),
    (2, "GET info"),
    (2, "HEAD resolve"),
    (1, "GET tree"),
    (3, "HEAD resolve"),
    (4, "HEAD resolve"),
    (0, "GET storage"),
    (0, "POST tag"),
    (1, "GET refs"),
)
# What stands for a kind is tried at every request, the rest of its kind at the requests that the client treats apart.
APART = ((0, "GET whoami"), (0, "POST preupload"), (0, "PUT storage"), (0, "POST commit"))
FAULTS = {
    **dict.fromkeys(["429", "html-503", "html-200", "drop-after", "cut-answer", "hang"], REQUESTS),
    **dict.fromkeys(["408", "500", "502", "503", "504", "drop-before"], APART),
    **dict.fromkeys(["short-upload", "cut-upload"], ((1, "PUT storage"),)),
}
SIGNALS = {signal.SIGKILL: REQUESTS, signal.SIGINT: APART, signal.SIGTERM: APART}


def test_these_are_all_requests_of_a_push(hub: Hub, push: Push, release: Path) -> None:
    push(release, "--yes", "--tag", "v1")
    assert {label for label in hub.labels() if "agent" not in label} == {label for _, label in REQUESTS}


def outcome(release: Path, folder: Path, fault: str, after: int, label: str) -> str | None:
    """Push once with one fault; say what is wrong afterwards."""
    folder.mkdir()
    with running() as hub:
        hub.fail(label, fault, after=after)
        started = time.monotonic()
        done = push_with(hub, folder / "home", release, "--yes", "--tag", "v1", "--timeout", "4")
        seconds = time.monotonic() - started
        if done.returncode or "Traceback" in done.stderr:
            return f"{fault} at {label} {after}: exit {done.returncode}: {done.stderr}"
        repo = hub.repos[REPO]
        right = (
            repo.history() == ["Publish 3 stories (3 train)"]
            and data(published(hub)) == data(content(release))
            and repo.tags == {"v1": repo.branches["main"]}
            and not hub.leaks
        )
        return (
            None if right and seconds < 120 else f"{fault} at {label} {after}: {repo.history()} {repo.tags} {seconds}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_anywhere_is_ridden_out(fault: str, release: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        outcomes = pool.map(lambda at: outcome(release, tmp_path / f"{at[0]}", fault, *at[1]), enumerate(FAULTS[fault]))
        assert [wrong for wrong in outcomes if wrong] == []


def interrupted(release: Path, folder: Path, signal_number: int, after: int, label: str) -> str | None:
    """End a push at one request by a signal; then push again; say what is wrong."""
    folder.mkdir()
    with running() as hub:
        command = [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(release), "--yes", "--tag", "v1"]
        process = subprocess.Popen(
            command, env=environment(hub, folder / "home"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        count = iter(range(10**6))

        def strike() -> None:
            if next(count) == after:
                process.send_signal(signal_number)
                time.sleep(0.2)

        hub.hooks[label] = [strike] * 50
        _, stderr = process.communicate(timeout=60)
        hub.hooks.clear()
        where = f"signal {signal_number} at {label} {after}"
        if "Traceback" in stderr or process.returncode in (0, 2):
            return f"{where}: exit {process.returncode}: {stderr}"
        state = data(published(hub)) if REPO in hub.repos else {}
        if state not in ({}, data(content(release))):
            return f"{where}: a mixture was left"
        if left := wait_till_empty(folder / "tmp"):
            return f"{where}: {left} were left"
        kept = Counter(hub.objects.keys())
        before = len(hub.requests)
        done = push_with(hub, folder / "home", release, "--yes", "--tag", "v1")
        repo = hub.repos[REPO]
        again = [request.path for request in hub.requests[before:] if request.label == "PUT storage"]
        if done.returncode or len(repo.history()) != 1 or repo.tags != {"v1": repo.branches["main"]}:
            return f"{where}: then {done.stderr}"
        if any(oid in path for oid in kept for path in again):
            return f"{where}: sent again what was there"
        return None


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", SIGNALS)
@pytest.mark.usefixtures("ctrl_c")
def test_a_push_that_is_killed_leaves_the_old_state_or_the_new(
    signal_number: signal.Signals, release: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(6) as pool:
        outcomes = pool.map(
            lambda at: interrupted(release, tmp_path / f"{at[0]}", signal_number, *at[1]),
            enumerate(SIGNALS[signal_number]),
        )
        assert [wrong for wrong in outcomes if wrong] == []


def wait_till_empty(folder: Path) -> list[Path]:
    """Give what is in a folder after whoever clears it up has had some time."""
    until = time.monotonic() + 30
    while (found := list(folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("label", ["", "GET whoami", "GET resolve-cache", "GET storage"])
@pytest.mark.usefixtures("ctrl_c")
def test_a_push_that_is_killed_leaves_no_files(
    label: str, signal_number: signal.Signals, hub: Hub, push: Push, release: Path, tmp_path: Path
) -> None:
    """Killed with all processes of its terminal: while it loads the folder, asks, reads the Hub's card, loads again."""
    push(release)
    assert not wait_till_empty(tmp_path / "tmp")
    other = release_of(map(story, range(5)), tmp_path / "other")
    process = subprocess.Popen(
        [sys.executable, "-m", "cats_alpaca", "push", REPO, "--from", str(other), "--yes"],
        env=environment(hub, tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    seen = []

    def strike() -> None:
        seen.append([path.name for path in (tmp_path / "tmp").iterdir()])
        os.killpg(process.pid, signal_number)
        time.sleep(0.2)

    if label:
        hub.before(label, strike)
    else:
        assert process.stderr
        assert b"loading" in process.stderr.readline()
        strike()
    process.communicate(timeout=60)
    assert process.returncode
    assert [len(names) for names in seen] == [1]
    assert not wait_till_empty(tmp_path / "tmp")


@pytest.mark.slow
@pytest.mark.parametrize("label", ["GET whoami", "POST commit", "GET storage"])
def test_trouble_that_lasts_is_an_error_in_the_end(label: str, hub: Hub, push: Push, release: Path) -> None:
    hub.fail(label, "503", times=10**6)
    done = push(release)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    hub.faults.clear()
    assert push(release).returncode == 0
    assert hub.repos[REPO].history() == ["Publish 3 stories (3 train)"]


@pytest.mark.parametrize(
    "label",
    ["POST preupload", "POST lfs-batch", "PUT storage", "POST lfs-verify", "POST commit", "GET tree", "GET storage"],
)
@pytest.mark.parametrize(("kind", "seconds"), [("429-day", "86,400"), ("429-window", "3,600")])
def test_nobody_waits_for_a_day(hub: Hub, push: Push, release: Path, label: str, kind: str, seconds: str) -> None:
    """Some of these requests the client itself makes again: without us it would sleep for as long as it is asked to."""
    hub.fail(label, kind, times=10**6)
    started = time.monotonic()
    done = push(release)
    assert (done.returncode, f"asks to wait {seconds} seconds" in done.stderr) == (1, True), done.stderr
    assert time.monotonic() - started < 100
    hub.faults.clear()
    assert push(release).returncode == 0
    assert hub.repos[REPO].history() == ["Publish 3 stories (3 train)"]


def test_a_wait_that_the_hub_asks_for_is_read_in_all_forms() -> None:
    class Response:
        def __init__(self, status: int, headers: dict[str, str]) -> None:
            self.status_code, self.headers = status, headers

    def asked(status: int = 503, **headers: str) -> float | None:
        error = ConnectionError()
        error.response = Response(status, {name.replace("_", "-"): value for name, value in headers.items()})  # type: ignore[attr-defined]
        return wait_asked_for(error)

    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert asked(Retry_After="7") == 7
    assert 55 <= (asked(Retry_After=soon) or 0) <= 60
    assert asked(Retry_After="meow") is None
    assert asked(429, RateLimit='"api";r=0;t=55') == 55
    assert asked(429, RateLimit='"api";r=3;t=55') is None
    assert asked(403, RateLimit='"api";r=0;t=55') is None
