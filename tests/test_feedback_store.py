"""The store: what it takes, what it keeps to itself, and that it loses nothing and forgets for good."""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Write

from cats_alpaca import Problem, Report, StoriesError, build, check_release, feedback
from cats_alpaca.feedback import FeedbackError
from cats_alpaca.feedback.export import collect
from cats_alpaca.feedback.importing import import_lines
from cats_alpaca.feedback.schema import MIGRATIONS
from cats_alpaca.release import digest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store" / "cats.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[feedback.Store]:
    file.parent.mkdir()
    with feedback.open_store(file) as opened:
        yield opened


def on_disk(file: Path) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(file.parent.iterdir()))


# ---- what it takes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "seen: is blank"),
        (" \n\u3000", "seen: is blank"),
        ("あ" * 1_001, "seen: has 1,001 characters, 1,000 are allowed"),
        ("あ" * 1_000_000, "seen: has 1,000,000 characters"),
        ("くしゃみ\0", r"seen: character 5 \(U\+0000\) is no text"),
        ("\ud83d", r"\(U\+D83D\)"),
        ("a\x1b[2J", r"\(U\+001B\)"),
    ],
)
def test_a_text_that_cannot_be_taken_is_refused_with_a_reason(store: feedback.Store, text: str, reason: str) -> None:
    me = feedback.join(store)
    with pytest.raises(FeedbackError, match=reason):
        feedback.add(store, me, "ミケ", text)
    assert not feedback.experiences(store, me)
    assert not feedback.cats(store, me)


@pytest.mark.parametrize(
    "date",
    [
        "2026-02-30",
        "2024-13-01",
        "24-1-1",
        "2024-1-01",
        "２０２４-01-01",
        "",
        "2024-01-01T0",
        "-024-01-01",
        "0001-01-01",
    ],
)
def test_a_day_that_is_none_is_refused(store: feedback.Store, date: str) -> None:
    with pytest.raises(FeedbackError, match="date: "):
        feedback.add(store, feedback.join(store), "ミケ", "くしゃみ", date=date)


def test_a_day_to_come_is_refused_but_for_tomorrow_which_it_is_somewhere(store: feedback.Store) -> None:
    me, today = feedback.join(store), datetime.date.today()
    for days, allowed in ((0, True), (1, True), (3, False)):
        date = (today + datetime.timedelta(days)).isoformat()
        if allowed:
            feedback.add(store, me, "ミケ", "くしゃみ", date=date)
        else:
            with pytest.raises(FeedbackError, match="is not between 1950-01-01 and today"):
                feedback.add(store, me, "ミケ", "くしゃみ", date=date)


HOSTILE = [
    "'; DROP TABLE experiences; --", '" OR 1=1 --',
    "くしゃみ* NEAR(a b) AND NOT (x OR y)", "grams:くしゃみ ^a", "{a b} : c",
    '"くしゃみ', "%_", "\\", "?1 :a @b $c", "\u202e右から左", "e\u0301", "👨‍👩‍👧", "ｶﾅ", "()", "-くしゃみ", "a\tb\nc",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_typed_is_never_a_query(store: feedback.Store, text: str) -> None:
    me, friend = feedback.join(store), feedback.join(store)
    feedback.add(store, friend, text[:40], text, done=text, outcome=text, feeling=text, shared=True)
    [told] = feedback.experiences(store, friend)
    assert (told.seen, told.feeling) == (text.strip(), text.strip())
    turn = feedback.ask(store, me, text[:40], text, feeling=text)
    assert turn.question == text.strip()
    feedback.rate(store, me, turn.id, "down", correction=text)
    feedback.recall(store, me, text[:40], text)
    for wrong in (text, "exp-" + text, "fb-' OR '1'='1"):
        with pytest.raises(FeedbackError, match=r"you have nothing with the id|no contributor"):
            feedback.forget(store, me, wrong)
    assert len(feedback.experiences(store, friend)) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_go_in_and_are_asked_for(tmp_path_factory: pytest.TempPathFactory, told: str, asked: str) -> None:
    with feedback.open_store(tmp_path_factory.mktemp("any") / "cats.sqlite") as store:
        me, friend = feedback.join(store), feedback.join(store)
        for work in (
            lambda: feedback.add(store, friend, "ミケ", told, shared=True),
            lambda: feedback.ask(store, me, "タマ", asked),
        ):
            try:
                work()
            except FeedbackError as error:
                assert str(error).startswith(("seen: ", "question: "))  # noqa: PT017


def test_nothing_of_others_can_be_read_or_changed(store: feedback.Store) -> None:
    me, other = feedback.join(store), feedback.join(store)
    told = feedback.add(store, other, "タマ", "くしゃみをした")
    turn = feedback.ask(store, other, "タマ", "鳴きます").id
    [(cat, _)] = feedback.cats(store, other)
    for id_ in (told, turn, cat, other, "exp-aaaaaaaaaaaaaaaa"):
        with pytest.raises(FeedbackError, match=f"you have nothing with the id '{id_}'"):
            feedback.forget(store, me, id_)
    works: list[Callable[[], object]] = [
        lambda: feedback.rate(store, me, turn, "down", correction="よくない"),
        lambda: feedback.share(store, me, told, True),
        lambda: feedback.find_turn(store, me, turn),
        lambda: feedback.draft(store, me, turn, "http://127.0.0.1:9"),
    ]
    for work in works:
        with pytest.raises(FeedbackError, match="you have nothing with the id"):
            work()
    works = [
        lambda: feedback.experiences(store, "person-x"),
        lambda: feedback.add(store, "person-x", "ミケ", "くしゃみ"),
        lambda: feedback.ask(store, "person-x", "ミケ", "くしゃみ"),
        lambda: feedback.set_consent(store, "person-x", "train", True),
        lambda: feedback.forget(store, "person-x", "person-x"),
    ]
    for work in works:
        with pytest.raises(FeedbackError, match="there is no contributor 'person-x'"):
            work()
    assert feedback.cats(store, other) == [(cat, "タマ")]


# ---- recall

LETTERS = st.lists(st.sampled_from("咳吐痢爪毛耳目鼻"), min_size=1)


def test_words_of_one_and_two_characters_are_found(store: feedback.Store) -> None:
    me, friend = feedback.join(store), feedback.join(store)
    for seen in ("夜中に嘔吐した", "乾いた咳をした", "元気がない", "爪を切った"):
        feedback.add(store, friend, "ぽん太", seen, shared=True, date="2025-02-14")
    for question, found in {"嘔吐": "夜中に嘔吐した", "咳が出ます": "乾いた咳をした", "元気？": "元気がない"}.items():
        assert feedback.recall(store, me, "ミケ", question).text == f"仲間の猫のこと\n2025年2月　{found}。"
    assert feedback.recall(store, me, "ミケ", "していますか").text == ""


def test_the_cats_own_past_comes_first_and_days_in_their_order(store: feedback.Store) -> None:
    me, friend = feedback.join(store), feedback.join(store)
    feedback.add(store, friend, "ぽん太", "くしゃみ、加湿した", shared=True, date="2025-02-14")
    feedback.add(store, me, "ミケ", "くしゃみ、受診した", date="2025-03-02", feeling="ほっとした")
    feedback.add(store, me, "ミケ", "くしゃみ、様子を見た", date="2023-11-20", outcome="三日で止まった")
    feedback.add(store, me, "タマ", "くしゃみ、これはタマのこと", date="2025-03-03")
    found = feedback.recall(store, me, "ミケ", "くしゃみをします")
    assert found.text.splitlines() == [
        "この猫のこれまで",
        "2023年11月20日　くしゃみ、様子を見た。→三日で止まった。",
        "2025年3月2日　くしゃみ、受診した。（ほっとした）",
        "仲間の猫のこと",
        "2025年2月　くしゃみ、加湿した。",
    ]
    assert found.kind == "others"
    assert len(found.experiences) == 3


@pytest.mark.parametrize("room", [0, 1, 9, 10, 11, 40, 100, 600])
def test_what_is_recalled_fits(store: feedback.Store, room: int) -> None:
    me, friend = feedback.join(store), feedback.join(store)
    for number in range(30):
        feedback.add(store, friend, "ぽん太", f"くしゃみ{'長' * number * 10}", shared=True)
        feedback.add(store, me, "ミケ", f"くしゃみ{'短' * number}")
    found = feedback.recall(store, me, "ミケ", "くしゃみ", max_characters=room)
    assert len(found.text) <= room
    assert bool(found.text) == bool(found.experiences) == (room >= 40)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.lists(st.sampled_from("咳吐痢爪毛耳目鼻"), min_size=1)),
        max_size=12,
    ),
    LETTERS,
    st.booleans(),
)
def test_nobody_is_ever_shown_what_another_keeps_private(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, bool, list[str]]], asked: list[str], unshare: bool
) -> None:
    with feedback.open_store(tmp_path_factory.mktemp("private") / "cats.sqlite") as store:
        people = [feedback.join(store) for _ in range(3)]
        allowed: dict[int, set[str]] = {person: set() for person in range(3)}
        for number, (person, shared, letters) in enumerate(told):
            id_ = feedback.add(store, people[person], "ミケ", f"{''.join(letters)}、{number}番", shared=shared)
            if shared and unshare:
                feedback.share(store, people[person], id_, False)
            for other in range(3):
                if other == person or (shared and not unshare):
                    allowed[other].add(id_)
        for person in range(3):
            found = feedback.recall(store, people[person], "ミケ", "".join(asked), max_characters=10_000)
            assert set(found.experiences) <= allowed[person]
            assert len(found.experiences) == found.text.count("番")


# ---- forgetting


@pytest.mark.parametrize("what", ["experience", "turn", "cat", "person"])
def test_no_byte_of_what_was_forgotten_is_left_in_any_file(file: Path, store: feedback.Store, what: str) -> None:
    me, friend = feedback.join(store), feedback.join(store)
    rng = random.Random(1)
    for number in range(300):  # enough for pages to split, so that old copies of a row would be left behind
        text = f"{number}日目の記録。" + "".join(rng.choices("猫が鳴いて走って寝た。", k=rng.randint(5, 900)))
        feedback.add(store, friend if number % 2 else me, f"猫{number % 4}", text, shared=number % 3 == 0)
    secret = "龘靐麤、だれにも言えないこと。" + "秘" * 400
    told = feedback.add(store, me, "ミケ", secret, done=secret, shared=True)
    turn = feedback.ask(store, me, "ミケ", f"龘靐麤のことです。{secret}")
    feedback.rate(store, me, turn.id, "down", correction=f"龘靐麤の答え。{secret}")
    quoting = feedback.ask(store, friend, "タマ", "麤はどうですか")
    assert "龘靐麤" in quoting.context
    for _ in range(50):
        feedback.add(store, friend, "タマ", "あとから来た記録。" * rng.randint(1, 90), shared=True)
    assert "靐".encode() in on_disk(file)
    [cat] = [id_ for id_, name in feedback.cats(store, me) if name == "ミケ"]
    gone = [{"experience": told, "turn": turn.id, "cat": cat, "person": me}[what]]
    gone += {"experience": [turn.id], "turn": [told]}.get(what, [])
    for id_ in gone:
        assert feedback.forget(store, me, id_).scrubbed
    # Its words stood in the index and in its counts, and in what was recalled for another.
    for left in ("龘", "靐", "秘秘"):
        assert left.encode() not in on_disk(file)
    kept = feedback.find_turn(store, friend, quoting.id)
    assert (kept.question, kept.context) == ("麤はどうですか", "")
    assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.execute("INSERT INTO shared_words (shared_words) VALUES ('integrity-check')")


def test_bytes_that_another_reader_held_go_when_the_store_is_opened_next(file: Path, store: feedback.Store) -> None:
    me = feedback.join(store)
    told = feedback.add(store, me, "ミケ", "龘靐麤のこと", shared=True)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM experiences").fetchone() == (1,)
    assert not feedback.forget(store, me, told).scrubbed
    assert feedback.experiences(store, me) == []
    reader.close()
    with feedback.open_store(file):
        assert "靐".encode() not in on_disk(file)


def test_what_was_forgotten_is_not_imported_again(store: feedback.Store, write: Write) -> None:
    me, other = feedback.join(store), feedback.join(store)
    diary = [
        {"cat": "ミケ", "date": "2024-11-08", "seen": "くしゃみが二回", "outcome": "治った", "shared": "group"},
        {"cat": "ミケ", "date": "2024-11-09", "question": "鳴きます", "answer": "朝です。", "verdict": "up"},
        {"cat": "ミケ", "date": "2024-11-10", "seen": "元気"},
    ]
    source = write(diary)
    assert import_lines(store, me, source) == (3, 0)
    assert import_lines(store, me, source) == (0, 3)
    feedback.forget(store, me, feedback.experiences(store, me)[0].id)
    feedback.forget(store, me, feedback.turns(store, me)[0].id)
    for who in (me, other):
        report = Report()
        import_lines(store, who, source, report=report)
        assert (report.read, report.kept, report.by_code) == (3, 1, {"withdrawn": 2})
    changed = [diary[0] | {"seen": " くしゃみ　が\t二回 "}, diary[1] | {"question": "鳴きます\n"}]
    assert import_lines(store, me, write(changed, "changed.jsonl")) == (0, 0)  # white space and width are no change


def test_a_bad_line_is_named_and_nothing_is_imported_unless_it_may_be_left_out(
    store: feedback.Store, write: Write
) -> None:
    me = feedback.join(store)
    good = {"cat": "ミケ", "date": "2024-11-08", "seen": "くしゃみ"}
    lines = [
        b"not json", b'{"cat": "x"}', json.dumps(good | {"date": "2026-02-30"}).encode(),
        json.dumps(good | {"seen": 7}).encode(), json.dumps(good | {"shared": "all"}).encode(),
        json.dumps(good | {"seen": "x" * 2000}).encode(), b'{"cat": "a", "date": "2024-01-01", "seen": "\\ud83d"}',
        json.dumps({**good, "question": "鳴く？", "verdict": "perhaps"}).encode(),
        json.dumps({**good, "question": "鳴く？", "verdict": "up"}).encode(),
        json.dumps({**good, "question": "鳴く？", "context": "よその猫の話"}).encode(),
        '{"cat": "ミケ", "cat": "タマ", "date": "2024-01-01", "seen": "x"}'.encode(), "猫".encode("cp932"),
    ]  # fmt: skip
    source = write(b"\n".join([*lines, json.dumps(good).encode(), b""]))
    with pytest.raises(StoriesError, match=r"cats\.jsonl:1: this is no JSON"):
        import_lines(store, me, source)
    assert feedback.experiences(store, me) == []
    report = Report()
    found: list[Problem] = []
    assert import_lines(store, me, source, report=report, on_problem=found.append) == (1, 0)
    assert (report.read, report.kept, report.rejected) == (13, 1, 12)
    assert sorted(problem.line for problem in found) == list(range(1, 13))
    assert report.by_code == {
        "invalid-json": 1, "missing-key": 1, "bad-value": 5, "wrong-type": 1, "lone-surrogate": 1, "context": 1,
        "duplicate-key": 1, "invalid-encoding": 1,
    }  # fmt: skip


def test_a_consent_is_for_the_newest_word_on_each_of_the_two(store: feedback.Store) -> None:
    me = feedback.join(store)
    turn = feedback.ask(store, me, "ミケ", "鳴きます").id
    feedback.rate(store, me, turn, "up", correction="朝ごはんの催促でしょう。")
    for what, given_, leaves in (
        ("train", True, False), ("publish", True, True), ("train", False, False), ("train", True, True),
        ("publish", False, False),
    ):  # fmt: skip
        feedback.set_consent(store, me, what, given_)
        assert bool(collect(store).ids) is leaves
    assert {what: one.given for what, one in feedback.consents(store, me).items()} == {"train": True, "publish": False}
    with pytest.raises(FeedbackError, match="a consent is to train or to publish"):
        feedback.set_consent(store, me, "everything", True)


def test_what_is_shared_with_nobody_is_not_published_even_with_consent(store: feedback.Store) -> None:
    me = feedback.join(store)
    for what in ("train", "publish"):
        feedback.set_consent(store, me, what, True)
    told = feedback.add(store, me, "ミケ", "くしゃみをした")
    turn = feedback.ask(store, me, "ミケ", "くしゃみをします").id
    feedback.rate(store, me, turn, "up", correction="前にもありましたね。受診しましょう。")
    [held] = collect(store).held
    assert (held.turn, held.code) == (turn, "quotes")
    assert f"consent --share {told}" in held.reason
    feedback.share(store, me, told, True)
    assert collect(store).ids == [turn]


def test_dangerous_answers_that_were_rejected_may_leave_as_such_but_nobodys_address(store: feedback.Store) -> None:
    me = feedback.join(store)
    for what in ("train", "publish"):
        feedback.set_consent(store, me, what, True)
    turns: list[str] = []
    for answer in ("玉ねぎを少しあげましょう。", "neko@example.com に聞きましょう。"):
        turn = feedback.ask(store, me, "ミケ", f"食べません。{len(turns)}回目です。").id
        store.execute("UPDATE turns SET answer = ? WHERE id = ?", (answer, turn))
        feedback.rate(store, me, turn, "down", correction=f"受診しましょう。{len(turns)}回目なら、なおさらです。")
        turns.append(turn)
    given_ = collect(store)
    assert given_.ids == turns[:1]
    assert [(one.turn, one.code) for one in given_.held] == [(turns[1], "email")]


# ---- the file


def test_only_its_owner_may_read_the_file(file: Path, store: feedback.Store) -> None:
    feedback.join(store)
    assert {oct(one.stat().st_mode & 0o777) for one in file.parent.iterdir()} == {"0o600"}


def test_a_store_of_a_newer_version_is_left_alone(file: Path, store: feedback.Store) -> None:
    store.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = file.read_bytes()
    with pytest.raises(FeedbackError, match=r"made by a newer version .*update cats_alpaca"), feedback.open_store(file):
        pass
    assert file.read_bytes() == before


def _use(file: Path, me: str) -> None:
    with feedback.open_store(file) as store:
        feedback.experiences(store, me)
        feedback.recall(store, me, "ミケ", "くしゃみ")
        feedback.add(store, me, "ミケ", "くしゃみ", shared=True)


def test_a_damaged_store_is_said_so(file: Path, store: feedback.Store) -> None:
    me = feedback.join(store)
    for number in range(200):
        feedback.add(store, me, "ミケ", f"くしゃみ{number}" * 20, shared=True)
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    content = bytearray(file.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises(FeedbackError, match=r"the store is damaged .* take the newest whole copy"):
        _use(file, me)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    # Root may write anywhere, so a folder under a file stands for one that may not be written.
    (tmp_path / "file").write_text("")
    with pytest.raises((FeedbackError, NotADirectoryError)), feedback.open_store(tmp_path / "file" / "cats.sqlite"):
        pass


ADD = """
import sys
from cats_alpaca import feedback
with feedback.open_store(sys.argv[1]) as store:
    me = sys.argv[2] if sys.argv[2:] else feedback.join(store)
    for number in range(10_000):
        print(feedback.add(store, me, "ミケ", f"{me}の{number}番目、くしゃみ", shared=True), flush=True)
        if not sys.argv[2:]:
            break
"""


def start(file: Path, *who: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ADD, str(file), *who], stdout=subprocess.PIPE, text=True)


def test_several_processes_may_make_the_store_at_once(tmp_path: Path) -> None:
    started = [start(tmp_path / "cats.sqlite") for _ in range(6)]
    ids = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 6
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        assert len(feedback.find_contributors(store)) == 6
        found = {one.id for who in feedback.find_contributors(store) for one in feedback.experiences(store, who)}
    assert found == set(ids)


@pytest.mark.slow
def test_of_eight_writers_that_are_killed_no_acknowledged_write_is_lost(file: Path, store: feedback.Store) -> None:
    people = [feedback.join(store) for _ in range(8)]
    writers = {who: start(file, who) for who in people}
    acknowledged: dict[str, list[str]] = {}
    time.sleep(3)
    for number, (who, process) in enumerate(writers.items()):
        time.sleep(0.2 + number * 0.07)
        process.send_signal(signal.SIGKILL)
        out = process.communicate(timeout=30)[0]
        acknowledged[who] = out.split("\n")[:-1]
        if number % 2:  # some come back and go on while the others die
            writers[who] = start(file, who)
            time.sleep(0.5)
            writers[who].kill()
            acknowledged[who] += writers[who].communicate(timeout=30)[0].split("\n")[:-1]
    assert sum(map(len, acknowledged.values())) > 50
    with feedback.open_store(file) as opened:
        for who, ids in acknowledged.items():
            there = [one.id for one in feedback.experiences(opened, who)]
            assert set(ids) <= set(there)
            assert len(there) <= len(ids) + 2  # at most the one that was being acknowledged, for each life
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        opened.execute("INSERT INTO shared_words (shared_words) VALUES ('integrity-check')")
        indexed = opened.execute("SELECT count(*) FROM shared_words").fetchone()
        assert indexed == opened.execute("SELECT count(*) FROM experiences").fetchone()


def test_a_reader_that_stays_costs_the_others_little(file: Path, store: feedback.Store) -> None:
    me = feedback.join(store)
    for number in range(300):
        feedback.add(store, me, "ミケ", f"龘靐麤{number}。" + "記録" * 400, shared=True)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM experiences").fetchone() == (300,)
    assert not feedback.forget(store, me, feedback.experiences(store, me)[0].id).scrubbed
    log = file.with_name("cats.sqlite-wal").stat().st_size
    started = time.monotonic()
    for _ in range(5):
        with feedback.open_store(file) as opened:
            feedback.add(opened, me, "ミケ", "くしゃみ")
    assert time.monotonic() - started < 5
    assert file.with_name("cats.sqlite-wal").stat().st_size < 2 * log  # the file is not written again and again
    reader.close()


def test_consent_taken_back_names_the_revisions_that_were_published(store: feedback.Store, tmp_path: Path) -> None:
    me = feedback.join(store)
    for what in ("train", "publish"):
        feedback.set_consent(store, me, what, True)
    turn = feedback.ask(store, me, "ミケ", "鳴きます").id
    feedback.rate(store, me, turn, "up", correction="朝ごはんの催促でしょう。")
    file = store.execute("PRAGMA database_list").fetchone()[2]
    for revision in ("v1", "v2"):
        build(out=tmp_path / revision, feedback=file)
        assert feedback.record_publication(store, "cats/group", revision, digest(tmp_path / revision)) == 1
    check_release(out=tmp_path / "v1", feedback=file)
    assert feedback.find_publications(store, [turn]) == [("cats/group", "v1", 1), ("cats/group", "v2", 1)]
    assert feedback.forget(store, me, me).publications == [("cats/group", "v1", 1), ("cats/group", "v2", 1)]
    assert feedback.record_publication(store, "cats/group", "v3", "unknown") == 0
