"""The loop as people go through it: on the command line, with a model behind a real server."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import Run

from cats_alpaca import check, feedback
from cats_alpaca.formats import CONFIGS, SCHEMAS

GOOD = {"model": "neko-7b", "choices": [{"message": {"role": "assistant", "content": "様子を見ましょう。"}}]}
Say = Callable[..., list[str]]
Handler = http.server.BaseHTTPRequestHandler


def reply(handler: Handler, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def answer_well(handler: Handler) -> None:
    reply(handler, json.dumps(GOOD).encode())


class Model:
    """A server on loopback that answers as the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[Handler], None] = answer_well
        self.stopped = threading.Event()
        model = self

        class _Handler(Handler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                model.keys.append(self.headers["Authorization"])
                model.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                model.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.stopped.set()
    model.server.shutdown()
    model.server.server_close()


@pytest.fixture
def say(run: Run, tmp_path: Path) -> Callable[..., list[str]]:
    """Run a feedback command as somebody, in one store; give the lines of what it printed."""

    def _say(who: str, *arguments: str, fails: str = "") -> list[str]:
        options = ["--store", str(tmp_path / "cats.sqlite"), *(["--as", who] if who else [])]
        done = run("feedback", *arguments, *options)
        assert done.returncode == bool(fails), done.stderr
        assert fails in done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout.splitlines()

    return _say


def new_person(tmp_path: Path, *, consents: bool = True) -> str:
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        who = feedback.join(store)
        for what in ("train", "publish") if consents else ():
            feedback.set_consent(store, who, what, True)
    return who


def rows(release: Path) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of a release's train split, as any reader of Parquet sees them."""
    files = {config: sorted((release / "data" / config).glob("train-*.parquet")) for config in SCHEMAS}
    return {config: pq.read_table(files[config]).to_pylist() for config in SCHEMAS if files[config]}


def test_the_machine_answers_from_the_cats_own_past(say: Say, run: Run, model: Model, tmp_path: Path) -> None:
    """The first dialogue: two years ago it was the same, and a vet helped; now the cat is older."""
    owner = new_person(tmp_path, consents=False)
    lived = ("夜からくしゃみが続き、元気もない。", "--done", "翌朝に受診", "--outcome", "八日目に回復")
    say(owner, "add", "こはる", *lived, "--feeling", "連れて行ってよかった", "--date", "2024-11-20", "--share")
    say(owner, "add", "こはる", "ソファで爪をといで困る", "--date", "2025-03-01", "--share")
    question = "こはるがくしゃみをしています。いつもより元気がないようです。"
    model.answer = lambda handler: reply(
        handler,
        json.dumps({"choices": [{"message": {"content": "二年前も同じでしたね。受診しましょう。"}}]}).encode(),
    )
    lines = say(owner, "ask", "こはる", question, "--feeling", "不安です", "--model-url", model.url, "--model", "neko")
    turn = lines[0]
    context = (
        "この猫のこれまで\n"
        "2024年11月20日　夜からくしゃみが続き、元気もない。翌朝に受診。→八日目に回復。（連れて行ってよかった）\n"
        "いまの気持ち：不安です"
    )
    assert re.fullmatch("fb-[a-z2-7]{16}", turn)
    assert lines[1:] == ["", *context.splitlines(), "", "二年前も同じでしたね。受診しましょう。"]
    assert model.asked == [{"messages": [{"role": "user", "content": f"{question}\n\n{context}"}], "model": "neko"}]
    assert model.keys == [None]

    better = "二年前の秋と同じ始まりですね。今は年を重ね、抵抗力も落ちています。きょう受診しましょう。"
    say(owner, "rate", turn, "down", "--correction", better)
    store, release = tmp_path / "cats.sqlite", tmp_path / "release"
    built = run("build", "--feedback", str(store), "--out", str(release))
    assert "1 turns in the store = 0 given + 1 held back (no-consent 1)" in built.stderr
    assert list(rows(release)) == list(CONFIGS)  # nothing without consent

    say(owner, "consent", "--give", "train")
    run("build", "--feedback", str(store), "--out", str(release))
    assert list(rows(release)) == list(CONFIGS)  # nor with one of the two
    say(owner, "consent", "--give", "publish")
    built = run("build", "--feedback", str(store), "--out", str(release))
    assert "1 turns in the store = 1 given + 0 held back" in built.stderr
    found = rows(release)
    assert found["alpaca"][-1] == {"instruction": question, "input": context, "output": better}
    assert found["stories"][-1] == {
        "id": turn, "topic": "", "question": question, "answer": better, "context": context, "experience": "own",
    }  # fmt: skip
    prompt = found["prompt_completion"][-1]["prompt"]
    bad = "二年前も同じでしたね。受診しましょう。"
    assert found["preference"] == [{"prompt": prompt, "chosen": better, "rejected": bad}]
    assert found["kto"] == [
        {"prompt": prompt, "completion": bad, "label": False},
        {"prompt": prompt, "completion": better, "label": True},
    ]
    assert not (release / "data" / "kto" / "test-00000-of-00001.parquet").exists()


def test_the_machine_answers_from_what_others_lived_through(say: Say, run: Run, model: Model, tmp_path: Path) -> None:
    """The second dialogue: somebody of the group had the same, and tells what helped."""
    friend, owner = new_person(tmp_path), new_person(tmp_path)
    helped = "獣医師に電話で聞いて、補助食品を足した"
    lived = ("一日二回ほどのくしゃみ", "--done", helped, "--outcome", "一週間で回復")
    [told] = say(friend, "add", "ぽん太", *lived, "--date", "2025-02-14", "--share")
    say(friend, "add", "ぽん太", "くしゃみの話、これは誰にも見せない", "--date", "2025-02-15")
    lines = say(owner, "ask", "こはる", "くしゃみを一日二回くらいします。", "--model-url", model.url)
    assert lines[2:] == [
        "仲間の猫のこと",
        f"2025年2月　一日二回ほどのくしゃみ。{helped}。→一週間で回復。",
        "",
        "様子を見ましょう。",
    ]
    say(owner, "rate", lines[0], "up")
    store, release = tmp_path / "cats.sqlite", tmp_path / "release"
    run("build", "--feedback", str(store), "--out", str(release))
    before = rows(release)
    assert before["stories"][-1]["experience"] == "others"
    assert before["kto"] == [{"prompt": before["kto"][0]["prompt"], "completion": "様子を見ましょう。", "label": True}]
    assert "preference" not in before
    old = tmp_path / "export" / "stories.jsonl"
    say("", "export", str(old.parent))
    assert json.loads(old.read_text("utf-8"))["id"] == lines[0]
    assert say("", "published", "cats/group", "c0ffee", "--release", str(release)) == ["cats/group at c0ffee: 1 turns"]

    gone = say(friend, "forget", told)
    assert gone[0] == told
    assert gone[1] == f"1 turns quoted it; they are held back from now on: {lines[0]}"
    assert "  cats/group at c0ffee: 1 turns" in gone
    assert any("super_squash_history" in line for line in gone)
    # Neither from the store, nor from an older file, nor under another id.
    anonymous = tmp_path / "anonymous.jsonl"
    anonymous.write_text(old.read_text("utf-8").replace(lines[0], "neko-9999"), "utf-8")
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"question": "なぜ鳴く？", "answer": "朝です。"}\n', "utf-8")
    sources = [part for file in (old, anonymous, kept) for part in ("--train", str(file))]
    built = run("build", *sources, "--feedback", str(store), "--out", str(release))
    assert "3 lines read = 1 kept + 2 rejected\n" in built.stderr
    assert "of the rejected: withdrawn 2\n" in built.stderr
    assert rows(release)["alpaca"] == [{"instruction": "なぜ鳴く？", "input": "", "output": "朝です。"}]
    assert list(rows(release)) == list(CONFIGS)
    say("", "export", str(old.parent))
    assert (old.parent / "withdrawn.txt").read_text() == f"{lines[0]}\n"
    assert old.read_text() == ""
    with feedback.open_store(store) as opened:  # what the owner typed is still theirs, what was quoted is gone
        [turn] = feedback.turns(opened, owner)
        assert (turn.question, turn.context, turn.answer) == ("くしゃみを一日二回くらいします。", "", "")


def test_the_release_loads_with_the_feedback_configs(say: Say, run: Run, tmp_path: Path) -> None:
    import datasets

    owner = new_person(tmp_path)
    [turn, *_] = say(owner, "ask", "こはる", "夜中に鳴きます。")
    say(owner, "rate", turn, "up", "--correction", "寝る前に遊んで、夜食を少し出しましょう。")
    release = tmp_path / "release"
    run("build", "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(release))
    loaded = datasets.load_dataset(str(release), "kto", cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].features == datasets.Features(
        prompt=datasets.Value("string"), completion=datasets.Value("string"), label=datasets.Value("bool")
    )
    assert [row["completion"] for row in loaded["train"]] == ["寝る前に遊んで、夜食を少し出しましょう。"]
    say(owner, "consent", "--withdraw", "publish")
    stale = run("build", "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(release), "--check")
    assert stale.returncode == 1
    assert "the rows of kto/train" in stale.stderr
    run("build", "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(release))
    assert not list((release / "data" / "kto").iterdir())
    assert "kto" not in (release / "README.md").read_text("utf-8")
    again = datasets.load_dataset(str(release), "stories", split="train", cache_dir=str(tmp_path / "cache"))
    assert turn not in again["id"]


# ---- a model that fails


def hang(handler: Handler) -> None:
    time.sleep(30)


def trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(300):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def close(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def say_less_than_announced(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def speak_no_http(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True


def answering(content: object) -> Callable[[Handler], None]:
    return lambda handler: reply(handler, json.dumps({"choices": [{"message": {"content": content}}]}).encode())


FAULTS: dict[str, tuple[Callable[[Handler], None], str]] = {
    "hangs": (hang, "no answer within"),
    "trickles": (trickle, "no answer within"),
    "closes": (close, "cannot be reached"),
    "breaks off": (say_less_than_announced, "cannot be reached"),
    "no HTTP": (speak_no_http, "cannot be reached"),
    "HTML": (lambda handler: reply(handler, b"<html>Login</html>"), "is no chat completion"),
    "error page": (lambda handler: reply(handler, b"<html>Oops</html>", 502), "answered 502"),
    "its own error": (
        lambda handler: reply(handler, b'{"error": {"message": "no model\\u001b[2J of this name"}}', 404),
        "answered 404 Not Found (no model [2J of this name)",
    ),
    "redirect": (lambda handler: reply(handler, b"", 302, Location="http://127.0.0.1:9/"), "answered 302"),
    "wrong JSON": (lambda handler: reply(handler, b'{"choices": []}'), "is no chat completion"),
    "JSON list": (lambda handler: reply(handler, b"[1]"), "is no chat completion"),
    "deep JSON": (lambda handler: reply(handler, b"[" * 100_000), "is no chat completion"),
    "null": (answering(None), "is no text"),
    "parts": (answering([{"type": "text"}]), "is no text"),
    "empty": (answering("  \n"), "is blank"),
    "lone surrogate": (answering("猫\ud83d"), "U+D83D"),
    "NUL": (answering("猫\0"), "U+0000"),
    "endless": (answering("猫" * 5_000), "has 5,000 characters"),
    "two megabytes": (lambda handler: reply(handler, b" " * 2_000_000), "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_fails_loses_nothing_that_was_typed(fault: str, model: Model, tmp_path: Path) -> None:
    model.answer, reason = FAULTS[fault]
    question = "猫が水を飲みません。どうしたら？"
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        me = feedback.join(store)
        turn = feedback.ask(store, me, "こはる", question)
        seconds = 1.0 if fault in ("hangs", "trickles") else 10.0
        started = time.monotonic()
        with pytest.raises(feedback.ModelError, match=re.escape(reason)) as failure:
            feedback.draft(store, me, turn.id, model.url, total_seconds=seconds)
        assert time.monotonic() - started < seconds + 2
        assert str(failure.value).startswith(f"{model.url}: ")
        assert str(failure.value).endswith(f"your question is kept as {turn.id}")
        assert feedback.find_turn(store, me, turn.id) == turn
        model.answer = answer_well
        assert feedback.draft(store, me, turn.id, model.url)[5:7] == ("様子を見ましょう。", "neko-7b")
        with pytest.raises(feedback.FeedbackError, match="has an answer already"):
            feedback.draft(store, me, turn.id, model.url)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "file:///etc/passwd", "http://", "http://[::1", "http://x:port/v1", ""]
)
def test_an_address_that_is_none_is_said_so(url: str, tmp_path: Path) -> None:
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        me = feedback.join(store)
        turn = feedback.ask(store, me, "こはる", "鳴きます。")
        with pytest.raises(feedback.ModelError, match="this is no address"):
            feedback.draft(store, me, turn.id, url)


def test_the_command_says_what_failed_and_asks_again(say: Say, model: Model, tmp_path: Path) -> None:
    me = new_person(tmp_path)
    model.answer = FAULTS["HTML"][0]
    # The id is printed before the model is asked.
    [turn] = say(me, "ask", "こはる", "水を飲みません", "--model-url", model.url, fails="Error: http://127.0.0.1")
    say(me, "rate", turn, "up", fails="has no answer yet")
    model.answer = answer_well
    assert say(me, "ask", "--again", turn, "--model-url", model.url) == [turn, "", "様子を見ましょう。"]


def test_a_key_goes_to_the_model_from_the_environment(run: Run, model: Model) -> None:
    done = run(
        "feedback", "ask", "こはる", "鳴きます", "--model-url", model.url, env={"CATS_ALPACA_MODEL_KEY": "secret"}
    )
    assert (done.returncode, model.keys) == (0, ["Bearer secret"])


def test_an_answer_made_from_what_was_taken_back_meanwhile_is_thrown_away(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "cats.sqlite"
    with feedback.open_store(file) as store:
        friend, owner = feedback.join(store), feedback.join(store)
        told = feedback.add(store, friend, "ぽん太", "くしゃみに加湿器が効いた", shared=True)
        turn = feedback.ask(store, owner, "こはる", "くしゃみをします")
        assert turn.context

        def forget_then_answer(handler: Handler) -> None:
            with feedback.open_store(file) as other:
                feedback.forget(other, friend, told)
            answering("加湿器が効いたそうです。")(handler)

        model.answer = forget_then_answer
        with pytest.raises(feedback.FeedbackError, match="was changed or withdrawn while the model answered"):
            feedback.draft(store, owner, turn.id, model.url)
        assert feedback.find_turn(store, owner, turn.id).answer == ""
    assert "加湿器".encode() not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


def test_an_exported_folder_passes_check_and_builds(say: Say, run: Run, tmp_path: Path) -> None:
    me = new_person(tmp_path)
    texts = {
        "good": ("夜中に鳴きます。", "寝る前に遊んで、夜食を少し出しましょう。"),
        "email": ("連絡は neko@example.com へ。鳴きます。", "遊びましょう。お昼にも少し遊ぶといいです。"),
        "telephone": ("吐きました。", "病院は 03-3501-1511 です。電話してから行きましょう。"),
        "marker": ("### Response: はい。鳴きます。", "朝に鳴くのは、お腹がすいたからでしょう。"),
        "same": ("夜中に 鳴きます。", "別の答えです。静かに見守ってみましょう。"),
    }
    turns = {}
    for name, (question, better) in texts.items():
        turns[name] = say(me, "ask", "こはる", question)[0]
        say(me, "rate", turns[name], "down", "--correction", better)
    out = tmp_path / "export"
    done = run("feedback", "export", str(out), "--store", str(tmp_path / "cats.sqlite"))
    assert "5 turns in the store = 1 given + 4 held back" in done.stderr
    for name, rule in {"email": "email", "telephone": "phone-number", "marker": "template-marker"}.items():
        assert re.search(rf"^{turns[name]}: .*\[{rule}\]$", done.stderr, re.MULTILINE)
    assert f"{turns['same']}: the question is that of {turns['good']} [duplicate-question]" in done.stderr
    assert sorted(one.name for one in out.iterdir()) == [
        "kto.jsonl",
        "preference.jsonl",
        "stories.jsonl",
        "withdrawn.txt",
    ]
    assert [one for one in check(str(out / "stories.jsonl")) if one.severity == "error"] == []
    assert run("build", "--train", str(out / "stories.jsonl"), "--out", str(tmp_path / "release")).returncode == 0
    # A build with both takes each story once.
    both = run(
        "build", "--train", str(out / "stories.jsonl"), "--train", str(tmp_path / "kept.jsonl"),
        "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(tmp_path / "release"),
    )  # fmt: skip
    assert both.returncode == 1  # there is no kept.jsonl
    (tmp_path / "kept.jsonl").write_text('{"question": "なぜ鳴く？", "answer": "朝です。"}\n', "utf-8")
    both = run(
        "build", "--train", str(out / "stories.jsonl"), "--train", str(tmp_path / "kept.jsonl"),
        "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(tmp_path / "release"),
    )  # fmt: skip
    assert "2 lines read = 1 kept + 1 rejected" in both.stderr
    assert "of the rejected: in-store 1" in both.stderr
    assert [row["id"] for row in rows(tmp_path / "release")["stories"]] == ["", turns["good"]]


def test_an_export_is_whole_or_not_at_all(say: Say, tmp_path: Path) -> None:
    me = new_person(tmp_path)
    say(me, "ask", "こはる", "鳴きます")
    out = tmp_path / "export"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    say("", "export", str(out), fails="holds mine.txt, which is no export; name another folder")
    assert [one.name for one in out.iterdir()] == ["mine.txt"]
    say("", "export", str(out / "mine.txt"), fails="is a file; name a folder")
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".export")]


def test_a_store_file_that_is_none_is_said_so(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.sqlite"
    bad.write_text("this is no database, and long enough to be one " * 50)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for file, reason in ((bad, "is no feedback store"), (other, "another program's"), (tmp_path, "is a folder")):
        done = run("feedback", "add", "こはる", "くしゃみ", "--store", str(file))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"Error: {file}: ")
        assert reason in done.stderr
    done = run("feedback", "status", "--store", str(tmp_path / "no.sqlite"))
    assert done.stderr == f"Error: {tmp_path / 'no.sqlite'}: there is no such store; check the name\n"
    done = run("build", "--feedback", str(bad), "--out", str(tmp_path / "release"))
    assert done.returncode == 1
    assert not (tmp_path / "release").exists()


def test_a_person_or_a_cat_is_not_forgotten_unasked(say: Say, run: Run, tmp_path: Path) -> None:
    who = new_person(tmp_path)
    say(who, "add", "ミケ", "くしゃみが二回")
    [told] = say(who, "add", "タマ", "爪をといだ")
    store = tmp_path / "cats.sqlite"
    with feedback.open_store(store) as opened:
        cats = {name: id_ for id_, name in feedback.cats(opened, who)}
    for what in (who, cats["タマ"]):
        refused = run("feedback", "forget", what, "--store", str(store), "--as", who)
        assert (refused.returncode, "say --yes" in refused.stderr) == (2, True), refused.stderr
    say(who, "forget", told)  # one entry is what was named
    assert say(who, "forget", cats["タマ"], "--yes")[0] == cats["タマ"]
    assert say(who, "status")[1].startswith("1 experiences")


@pytest.mark.parametrize(("typed", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_somebody_is_asked_before_they_are_forgotten(
    say: Say, tmp_path: Path, typed: bytes, status: int
) -> None:
    who = new_person(tmp_path)
    say(who, "add", "ミケ", "くしゃみが二回")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cats_alpaca", "feedback", "forget", who, "--store", str(tmp_path / "cats.sqlite")]
    os.write(ours, typed)
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert f"Forget {who} with 1 experiences and 0 turns?" in done.stderr
    assert done.returncode == status
    assert (who in done.stdout) == (status == 0)
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        assert feedback.find_contributors(store) == ([] if status == 0 else [who])


def test_publishing_a_release_without_turns_is_no_mistake_and_one_of_another_store_is(
    say: Say, run: Run, tmp_path: Path
) -> None:
    owner = new_person(tmp_path)
    release, other = tmp_path / "release", tmp_path / "other.sqlite"
    what = ("feedback", "published", "cats/group", "v1", "--release", str(release), "--store")
    assert "holds no release" in run(*what, str(tmp_path / "cats.sqlite")).stderr
    run("build", "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(release))
    clean = run(*what, str(tmp_path / "cats.sqlite"))
    assert (clean.returncode, clean.stdout) == (0, "cats/group at v1: 0 turns\n")
    assert "holds nobody's turns, so there is nothing to remember" in clean.stderr

    turn = say(owner, "ask", "ミケ", "夜中になぜ鳴くのでしょう。")[0]
    say(owner, "rate", turn, "down", "--correction", "寝る前によく遊びましょう。")
    run("build", "--feedback", str(tmp_path / "cats.sqlite"), "--out", str(release))
    with feedback.open_store(other):
        pass
    wrong = run(*what, str(other))
    assert (wrong.returncode, f"{other} knows no such build" in wrong.stderr) == (1, True), wrong.stderr
    assert run(*what, str(tmp_path / "cats.sqlite")).stdout == "cats/group at v1: 1 turns\n"
