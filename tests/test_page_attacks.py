"""The page against those who mean harm: it is run as an owner runs it, and spoken to without a browser."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from page_support import PASSWORD, Browser, Model, Serve, new_people, new_web
from support import Run

from cats_alpaca import feedback
from cats_alpaca.errors import FeedbackError
from cats_alpaca.feedback.page.people import read_people
from cats_alpaca.feedback.page.words import EN, JA, Words, explain

SECRET = "だれにも言わない秘密"


def dump(store: Path, who: str) -> list[object]:
    """Give everything of one contributor."""
    with feedback.open_store(store) as opened:
        return [feedback.cats(opened, who), feedback.experiences(opened, who), feedback.turns(opened, who), *sorted(
            feedback.consents(opened, who).items())]  # fmt: skip


@pytest.mark.slow
def test_no_request_with_anothers_ids_reads_or_changes_what_is_theirs(serve: Serve, tmp_path: Path) -> None:
    """Every handler, every place in it, every kind of id, in the other's browser session."""
    kinds = ("person", "cat", "exp", "fb")
    attackers = [f"{kind}-{language}" for kind in kinds for language in ("ja", "en")]
    people = new_people(tmp_path, "hanako", *attackers)
    page = serve("--login", "people.txt", "--maintainer", "hanako")
    victim = Browser(page.url, "hanako", session="hers")
    victim.note(f"くしゃみ。{SECRET}")
    turn, _ = victim.ask(f"くしゃみです。{SECRET}")
    before = dump(page.store, people["hanako"])
    with feedback.open_store(page.store) as store:
        ids = {
            "person": people["hanako"],
            "cat": feedback.cats(store, people["hanako"])[0][0],
            "exp": feedback.experiences(store, people["hanako"])[0].id,
            "fb": turn,
        }
    tried = set()
    for attacker in attackers:
        kind, language = attacker.split("-")
        browser = Browser(page.url, attacker, session="hers")
        for deed, one in browser.deeds.items():
            if f"_{language}" in deed or deed.startswith("lambda"):
                answer = browser.send(deed, *[ids[kind]] * len(one["inputs"]))
                assert SECRET not in answer.text, deed
                assert JA.too_fast not in answer.text, deed
                assert EN.too_fast not in answer.text, deed
                assert answer.status_code == 200, deed
                tried.add(deed)
    assert tried == set(victim.deeds)
    assert len(tried) > 40
    assert dump(page.store, people["hanako"]) == before
    assert not (tmp_path / "feedback-data").exists()  # nor has any of them exported
    assert victim.do("take_along_ja").count(SECRET) == 3  # hers, her question, and what was recalled for it


@pytest.mark.slow
def test_50_owners_at_once_never_see_each_others_private_notes(serve: Serve, tmp_path: Path) -> None:
    names = [f"owner{number}" for number in range(50)]
    people = new_people(tmp_path, *names)
    page = serve("--login", "people.txt")

    def live(name: str) -> str:
        browser = Browser(page.url, name, session="the same for all")
        seen = browser.note(f"くしゃみ。これは{name}だけの秘密")
        with feedback.open_store(page.store) as store:
            cat = feedback.cats(store, people[name])[0][0]
        seen += browser.note(f"くしゃみ。{name}から仲間へ", cat=cat, share="group")
        seen += browser.ask("くしゃみをしています", cat=cat)[1]
        seen += browser.do("look_ja", cat, "", "")
        return seen + browser.do("take_along_ja")

    with ThreadPoolExecutor(50) as pool:
        found = dict(zip(names, pool.map(live, names), strict=True))
    for name, text in found.items():
        assert f"これは{name}だけの秘密" in text
        assert not [other for other in names if other != name and f"これは{other}だけの秘密" in text]
    assert any(f"{other}から仲間へ" in found["owner7"] for other in names if other != "owner7")
    with feedback.open_store(page.store) as store:
        assert store.execute("SELECT count(*), sum(shared) FROM experiences").fetchone() == (100, 50)
        assert store.execute("SELECT count(*) FROM turns").fetchone() == (50,)
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert "Traceback" not in page.said()


@pytest.mark.slow
def test_who_is_not_signed_in_gets_nothing(serve: Serve, tmp_path: Path) -> None:
    new_people(tmp_path, "hanako")
    page = serve("--login", "people.txt")
    known = Browser(page.url, "hanako")
    stranger = new_web(page.url)
    for one in known.config["dependencies"]:
        body = {"fn_index": one["id"], "data": [""] * len(one["inputs"]), "session_hash": "a-session"}
        assert stranger.post("/gradio_api/run/predict", json=body).status_code == 401
    assert stranger.get("/config").status_code == 401
    for _ in range(12):
        stranger.post("/login", data={"username": "hanako", "password": "guessed"})
    assert known.sign_in("hanako", PASSWORD) == 400  # guessed too often; it takes time to be let in again
    assert JA.kept in known.note("くしゃみ")  # who is in stays in
    (tmp_path / "people.txt").write_text("")
    assert JA.gone in known.note("くしゃみ")  # but not when taken out of the file


@pytest.mark.slow
def test_only_what_the_page_needs_can_be_reached(serve: Serve) -> None:
    """Gradio brings upload, files, a queue, a proxy and more."""
    page = serve()
    web = Browser(page.url).web
    for path in (
        "info", "openapi.json", "queue/data?session_hash=a-session", "queue/status", "file=cats.sqlite",
        f"file={page.store}", "proxy=https://example.org", "call/note_ja/x", "heartbeat/a-session", "runs",
        "startup-events", "upload_progress?upload_id=x", "vibe-code", "custom_component/x/client/component/y",
    ):  # fmt: skip
        assert web.get(f"/gradio_api/{path}").status_code == 404, path
    for path in (
        "call/note_ja",
        "call/v2/note_ja",
        "queue/join",
        "run/note_ja",
        "api/predict",
        "reset",
        "component_server",
    ):
        assert web.post(f"/gradio_api/{path}", json={"data": []}).status_code == 404, path
    assert web.post("/gradio_api/upload", files={"files": b"x"}).status_code == 404
    assert web.get("/monitoring").status_code == 404
    assert web.get("/docs").status_code == 404
    for path in ("/assets/../../cats.sqlite", "/static/%2e%2e/%2e%2e/cats.sqlite"):
        assert web.get(path).status_code >= 400
    assert web.put("/gradio_api/run/predict", json={}).status_code == 404


@pytest.mark.slow
def test_another_site_cannot_use_the_page_in_its_owners_browser(serve: Serve) -> None:
    page = serve()
    browser = Browser(page.url)
    body = {"fn_index": browser.deeds["note_ja"]["id"], "data": ["new", "ミケ", "2024-11-08", "me", "x", "", "", ""]}
    send = browser.web.post
    assert send("/gradio_api/run/predict", json=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert send("/gradio_api/run/predict", json=body, headers={"Origin": "null"}).status_code == 403
    # Another site's name that its owner lets point to this machine.
    for path in ("/", "/config"):
        assert browser.web.get(path, headers={"Host": "evil.example"}).status_code == 403
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert send("/gradio_api/run/predict", json=body, headers=evil).status_code == 403
    answer = browser.web.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    with feedback.open_store(page.store) as store:
        assert store.execute("SELECT count(*) FROM experiences").fetchone() == (0,)


@pytest.mark.slow
def test_what_is_too_large_is_refused_and_nothing_else_suffers(serve: Serve) -> None:
    page = serve()
    browser = Browser(page.url)
    assert "1,001 文字" in browser.note("あ" * 1_001)
    assert "150,000 文字" in browser.note("あ" * 150_000)
    assert browser.send("note_ja", "new", "ミケ", "2024-11-08", "me", "あ" * 1_000_000, "", "", "").status_code == 413
    endless = browser.web.post("/gradio_api/run/predict", content=iter([b"x"] * 1000))
    assert endless.status_code == 411
    assert browser.send("look_ja", "new", "9" * 5_000, None).status_code == 200
    odd: list[list[object]] = [
        [None] * 8,
        [[]] * 8,
        [{"a": 1}] * 8,
        [1e308] * 8,
        [True] * 8,
        ["\ud800"] * 8,
        ["\0"] * 8,
    ]
    for data in odd:
        browser.send("note_ja", *data)
    assert JA.kept in browser.note("あ" * 1_000)
    with feedback.open_store(page.store) as store:
        seen = [one.seen for one in feedback.experiences(store, feedback.find_contributors(store)[0])]
    assert seen == ["あ" * 1_000]


@pytest.mark.slow
def test_who_goes_too_fast_must_wait_and_others_need_not(serve: Serve, tmp_path: Path) -> None:
    new_people(tmp_path, "fast", "slow")
    page = serve("--login", "people.txt")
    fast, slow = Browser(page.url, "fast"), Browser(page.url, "slow")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: JA.too_fast in fast.do("consent_train_ja", False), range(150)))
    assert 60 <= answers.count(False) < 150
    assert JA.kept in slow.note("くしゃみ")


@pytest.mark.slow
def test_a_permission_is_given_by_true_alone(serve: Serve) -> None:
    page = serve()
    browser = Browser(page.url)
    for odd in ("false", "true", 1, [True], None):
        browser.send("consent_train_ja", odd)
        browser.send("consent_publish_ja", odd)
    assert JA.not_both in browser.do("consent_train_ja", True)
    assert JA.both_given in browser.do("consent_publish_ja", True)
    with feedback.open_store(page.store) as store:
        [who] = feedback.find_contributors(store)
        assert store.execute("SELECT what, given FROM consents ORDER BY number").fetchall() == [
            ("train", 1),
            ("publish", 1),
        ]
        assert all(one.given for one in feedback.consents(store, who).values())


@pytest.mark.slow
def test_a_model_that_fails_loses_nothing_and_its_address_stays_here(serve: Serve, chat_model: Model) -> None:
    chat_model.answer = None
    page = serve("--model-url", chat_model.url)
    browser = Browser(page.url)
    turn, _ = browser.ask("鳴きやみません")
    said = browser.do("draft_ja", turn)
    assert JA.model_fails in said
    assert chat_model.url not in said
    assert chat_model.url in page.said()
    chat_model.answer = "だっこしてみましょう。"
    assert chat_model.answer in browser.do("draft_ja_1", turn)


@pytest.mark.slow
def test_only_a_maintainer_exports_and_the_stories_pass_the_check(serve: Serve, run: Run, tmp_path: Path) -> None:
    new_people(tmp_path, "hanako", "kanri")
    page = serve("--login", "people.txt", "--maintainer", "kanri")
    owner, maintainer = Browser(page.url, "hanako"), Browser(page.url, "kanri")
    turn, _ = owner.ask("夜中に鳴いて起こされます。どうしたらよいですか。")
    owner.do("judge_ja", turn, "down", "寝る前にたっぷり遊び、朝のごはんを同じ時刻にすると、落ち着く子が多いです。")
    owner.do("consent_train_ja", True)
    owner.do("consent_publish_ja", True)
    for deed in ("manage_ja", "export_data_ja"):
        assert JA.not_maintainer in owner.do(deed)
    assert not (tmp_path / "feedback-data").exists()
    assert JA.leave.format(count=1) in maintainer.do("manage_ja")
    assert str(tmp_path / "feedback-data") in maintainer.do("export_data_ja")
    stories = tmp_path / "feedback-data" / "stories.jsonl"
    assert [json.loads(line)["id"] for line in stories.read_text("utf-8").splitlines()] == [turn]
    assert run("check", str(stories)).returncode == 0


@pytest.mark.slow
def test_what_is_forgotten_on_the_page_is_nowhere_in_its_folder(serve: Serve, tmp_path: Path) -> None:
    page = serve()
    browser = Browser(page.url)
    browser.note(f"くしゃみ。{SECRET}")
    with feedback.open_store(page.store) as store:
        cat = feedback.cats(store, feedback.find_contributors(store)[0])[0][0]
    browser.do("look_ja", cat, "", "")
    browser.do("take_along_ja")
    assert JA.gone in browser.do("forget_me_ja")
    assert JA.gone in browser.note("もういちど")
    with feedback.open_store(page.store):
        pass  # takes the last bytes out, where the page was still reading
    left = [file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert left == []


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "--login"),
        (["--host", "192.168.0.7"], "--login"),
        (["--maintainer", "hanako"], "--login"),
        (["--login", "people.txt", "--as", "person-a"], "--as"),
        (["--login", "people.txt", "--maintainer", "nobody"], "nobody"),
    ],
)
def test_a_wrong_start_is_refused(run: Run, arguments: list[str], told: str) -> None:
    made = run("feedback", "login", "people.txt", "hanako", input=PASSWORD)
    assert made.returncode == 0, made.stderr
    done = run("feedback", "serve", "--port", "0", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_without_the_extra_one_sentence_says_what_to_install(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text("raise ModuleNotFoundError('No module', name='gradio')")
    done = run("feedback", "serve", env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"})
    assert (done.returncode, done.stderr) == (1, "Error: the page needs gradio; pip install 'cats_alpaca[app]'\n")


def test_a_port_that_is_taken_is_said_in_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("feedback", "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_example_of_the_command_serves_until_it_is_stopped(serve: Serve) -> None:
    page = serve("--port", "0")
    assert httpx.get(page.url).status_code == 200
    assert page.process.poll() is None


def test_the_file_of_people_holds_no_password_and_is_nobody_elses_to_read(run: Run, tmp_path: Path) -> None:
    first = run("feedback", "login", "people.txt", "hanako", input=PASSWORD)
    again = run("feedback", "login", "people.txt", "hanako", input=f"{PASSWORD} 2")
    other = run("feedback", "login", "people.txt", "taro", input=PASSWORD)
    assert first.stdout == again.stdout != other.stdout  # a new password, the same notes
    file = tmp_path / "cwd" / "people.txt"
    assert PASSWORD not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(read_people(file)) == ["hanako", "taro"]
    for name, password in (("a b", PASSWORD), ("a:b", PASSWORD), ("x" * 41, PASSWORD), ("taro", "short")):
        assert run("feedback", "login", "people.txt", name, input=password).returncode == 1
    file.write_text("hanako:person-a\n")
    done = run("feedback", "login", "people.txt", "taro", input=PASSWORD)
    assert "people.txt:1:" in done.stderr


FAULTS: dict[str, Callable[[feedback.Store, str, str], object]] = {
    "too long": lambda store, me, _: feedback.add(store, me, "ミケ", "x" * 1_001),
    "far too long": lambda store, me, _: feedback.add(store, me, "ミケ", "x" * 5_000),
    "blank": lambda store, me, _: feedback.ask(store, me, "ミケ", " "),
    "no name": lambda store, me, _: feedback.ask(store, me, "", "鳴きます"),
    "no text": lambda store, me, _: feedback.add(store, me, "ミケ", "a\0b"),
    "no day": lambda store, me, _: feedback.add(store, me, "ミケ", "x", date="きのう"),
    "to come": lambda store, me, _: feedback.add(store, me, "ミケ", "x", date="2199-01-01"),
    "no answer": lambda store, me, turn: feedback.rate(store, me, turn, "up"),
    "the same": lambda store, me, _: feedback.rate(store, me, answered(store, me), "down", correction="はい。"),
    "not there": lambda store, me, _: feedback.forget(store, me, "exp-<b>"),
    "not there either": lambda store, me, _: feedback.find_turn(store, me, "fb-<b>"),
    "gone": lambda store, _, __: feedback.cats(store, "person-<b>") or feedback.experiences(store, "person-<b>"),
}


def answered(store: feedback.Store, me: str) -> str:
    turn = feedback.ask(store, me, "ミケ", "鳴きます").id
    store.execute("UPDATE turns SET answer = 'はい。' WHERE id = ?", (turn,))
    return turn


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("words", [JA, EN], ids=["ja", "en"])
def test_every_error_that_an_owner_can_meet_is_said_in_the_words_of_the_page(
    fault: str, words: Words, tmp_path: Path
) -> None:
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        me = feedback.join(store)
        turn = feedback.ask(store, me, "ミケ", "鳴きます").id
        with pytest.raises(FeedbackError) as raised:
            FAULTS[fault](store, me, turn)
    said = explain(words, str(raised.value))
    assert said != words.failed
    assert "<b>" not in said
    assert turn not in said
