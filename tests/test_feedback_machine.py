"""Whatever people do in whatever order: no row without both consents, and none after it was taken back, ever."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cats_alpaca import build, feedback
from cats_alpaca.feedback.export import collect, export
from cats_alpaca.feedback.importing import import_lines
from cats_alpaca.feedback.store import writing

MARK = re.compile(r"しるし([0-9]+)番")
PEOPLE = st.integers(0, 2)
ANY = st.integers(0, 10**6)


class People(RuleBasedStateMachine):
    """The store beside a model of it: whose each mark is, who consents, what may still be told."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.opened = feedback.open_store(self.path / "cats.sqlite")
        self.store = self.opened.__enter__()
        self.people = [feedback.join(self.store) for _ in range(3)]
        self.consents: dict[tuple[int, str], bool] = {}
        self.marks = 0
        self.told: dict[str, dict[str, Any]] = {}  # experiences: owner, mark, shared
        self.asked: dict[str, dict[str, Any]] = {}  # turns: owner, marks of its own, quoted experiences, judged, answer
        self.forgotten: set[str] = set()  # marks
        self.released: list[tuple[int, str]] = []  # exported lines and whose they are

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    def mark(self) -> str:
        self.marks += 1
        return str(self.marks)

    def consenting(self, person: int) -> bool:
        return all(self.consents.get((person, what)) for what in ("train", "publish"))

    @initialize()
    def they_share_and_consent(self) -> None:
        for person in range(3):
            self.add(person, True)
            for what in ("train", "publish"):
                self.consent(person, what, True)

    @rule(person=PEOPLE, shared=st.booleans())
    def add(self, person: int, shared: bool) -> None:
        mark = self.mark()
        seen = f"くしゃみをした。しるし{mark}番"
        id_ = feedback.add(self.store, self.people[person], f"猫{person}", seen, shared=shared, date="2024-11-08")
        self.told[id_] = {"owner": person, "mark": mark, "shared": shared}

    @rule(person=PEOPLE, answered=st.booleans(), judged=st.booleans())
    def ask(self, person: int, answered: bool, judged: bool) -> None:
        mark, of_answer = self.mark(), self.mark()
        turn = feedback.ask(self.store, self.people[person], f"猫{person}", f"くしゃみのこと、しるし{mark}番です。")
        quoted = [id_ for id_, one in self.told.items() if one["mark"] in MARK.findall(turn.context)]
        assert len(quoted) == len(MARK.findall(turn.context))
        # Privacy: one's own cat's, or what somebody shares today.
        assert all(self.told[id_]["owner"] == person or self.told[id_]["shared"] for id_ in quoted)
        answer = f"しるし{of_answer}番の答え。{' '.join(turn.context.split())}" if answered else ""
        with writing(self.store):  # as `draft` does when a model has answered, telling again what it was told
            self.store.execute("UPDATE turns SET answer = ? WHERE id = ?", (answer, turn.id))
        self.asked[turn.id] = {
            "owner": person, "marks": {mark, of_answer}, "quoted": quoted, "judged": "", "answered": answered,
            "held": False, "corrected": False,
        }  # fmt: skip
        if judged:
            self.rate(len(self.asked) - 1, "down", True)

    @precondition(lambda self: self.asked)
    @rule(which=ANY, verdict=st.sampled_from(["up", "down"]), correct=st.booleans())
    def rate(self, which: int, verdict: str, correct: bool) -> None:
        id_, turn = list(self.asked.items())[which % len(self.asked)]
        mark = self.mark()
        correction = f"しるし{mark}番のほうがよいです。" if correct else ""
        me = self.people[turn["owner"]]
        if not correction and (not turn["answered"] or turn["held"]):
            try:
                feedback.rate(self.store, me, id_, verdict)
            except feedback.FeedbackError:
                return
            raise AssertionError
        feedback.rate(self.store, me, id_, verdict, correction=correction)
        turn["judged"], turn["corrected"] = verdict, correct
        turn["marks"].add(mark)
        other = self.people[(turn["owner"] + 1) % 3]
        try:
            feedback.rate(self.store, other, id_, "up")
        except feedback.FeedbackError:
            return
        raise AssertionError

    @rule(person=PEOPLE, what=st.sampled_from(["train", "publish"]), given=st.booleans())
    def consent(self, person: int, what: str, given: bool) -> None:
        feedback.set_consent(self.store, self.people[person], what, given)
        self.consents[person, what] = given

    @precondition(lambda self: self.told)
    @rule(which=ANY, shared=st.booleans())
    def share(self, which: int, shared: bool) -> None:
        id_, one = list(self.told.items())[which % len(self.told)]
        feedback.share(self.store, self.people[one["owner"]], id_, shared)
        one["shared"] = shared

    @precondition(lambda self: self.told or self.asked)
    @rule(which=ANY, cat=st.integers(0, 9))
    def forget(self, which: int, cat: int) -> None:
        self.export()
        everything = {**self.told, **self.asked}
        id_ = list(everything)[which % len(everything)]
        owner = everything[id_]["owner"]
        gone = {id_}
        if cat == 0:  # now and then the whole cat
            id_ = feedback.cats(self.store, self.people[owner])[0][0]
            gone = {key for key, one in everything.items() if one["owner"] == owner}
        elif cat == 1:  # or the person, who begins anew
            id_ = self.people[owner]
            gone = {key for key, one in everything.items() if one["owner"] == owner}
        result = feedback.forget(self.store, self.people[owner], id_)
        assert result.scrubbed
        assert gone <= set(result.ids)
        for key in gone:
            one = self.told.pop(key, None) or self.asked.pop(key)
            self.forgotten |= one["marks"] if "marks" in one else {one["mark"]}
        for key, turn in self.asked.items():
            if gone & set(turn["quoted"]):
                turn["held"], turn["answered"] = True, False
                assert key in result.quoting or key not in self.asked
        if cat == 1:
            self.people[owner] = feedback.join(self.store)
            self.consents = {key: given for key, given in self.consents.items() if key[0] != owner}
        if self.released:
            self.build_from_old_files()

    def leaving(self) -> set[str]:
        return {
            id_
            for id_, turn in self.asked.items()
            if self.consenting(turn["owner"])
            and (turn["judged"] or turn["corrected"])
            and not turn["held"]
            and all(self.told[one]["shared"] and self.consenting(self.told[one]["owner"]) for one in turn["quoted"])
        }

    def may_be_read(self) -> set[str]:
        """All marks that may be in something that leaves the store now."""
        told = {one["mark"] for one in self.told.values() if one["shared"] and self.consenting(one["owner"])}
        return told | {mark for turn in self.asked.values() if self.consenting(turn["owner"]) for mark in turn["marks"]}

    @invariant()
    def what_leaves_is_what_may(self) -> None:
        given = collect(self.store)
        assert set(given.ids) == self.leaving()
        assert set(MARK.findall(json.dumps(given.turns.to_pylist(), ensure_ascii=False))) <= self.may_be_read()

    @rule()
    def export(self) -> None:
        folder = self.path / "export"
        export(self.store, folder)
        text = "".join(one.read_text("utf-8") for one in folder.iterdir())
        assert set(MARK.findall(text)) <= self.may_be_read()
        for line in (folder / "stories.jsonl").read_text("utf-8").splitlines():
            self.released.append((self.asked[json.loads(line)["id"]]["owner"], line))

    @precondition(lambda self: self.released)
    @rule(which=ANY, keep_id=st.booleans())
    def import_again(self, which: int, keep_id: bool) -> None:
        """A person takes in what was exported of them once, under its id or under none."""
        owner, line = self.released[which % len(self.released)]
        story = json.loads(line)
        known, withdrawn = story["id"] in self.asked, set(MARK.findall(line)) & self.forgotten
        held = known and self.asked[story["id"]]["held"]
        entry = {"cat": f"猫{owner}", "date": "2024-11-09", "question": story["question"], "answer": story["answer"]}
        file = self.path / "again.jsonl"
        file.write_text(json.dumps(entry | ({"id": story["id"]} if keep_id else {})), "utf-8")
        before = {turn.id for turn in feedback.turns(self.store, self.people[owner])}
        found = import_lines(self.store, self.people[owner], str(file), on_problem=lambda _: None)
        new = {turn.id for turn in feedback.turns(self.store, self.people[owner])} - before
        assert found.added == len(new)
        if held or (not known and withdrawn) or (known and keep_id):
            assert not new
        for id_ in new:
            marks = set(MARK.findall(story["question"] + story["answer"]))
            self.asked[id_] = {
                "owner": owner, "marks": marks, "quoted": [], "judged": "", "answered": True, "held": False,
                "corrected": False,
            }  # fmt: skip

    @precondition(lambda self: self.released)
    @rule()
    def build_from_old_files(self) -> None:
        """A release built from all that was ever exported, and the store, holds what the store lets go, and no more."""
        old, kept, out = self.path / "old.jsonl", self.path / "kept.jsonl", self.path / "release"
        old.write_text("".join(f"{line}\n" for _, line in self.released), "utf-8")
        kept.write_text('{"id": "neko-1", "question": "なぜ鳴く？", "answer": "朝です。"}\n', "utf-8")
        build([str(kept), str(old)], out=out, feedback=self.path / "cats.sqlite")
        tables = {file: pq.read_table(file).to_pylist() for file in out.rglob("*.parquet")}
        assert set(MARK.findall(json.dumps(list(tables.values()), ensure_ascii=False))) <= self.may_be_read()
        stories = [row for file in (out / "data" / "stories").iterdir() for row in tables[file]]
        assert {row["id"] for row in stories} - {"neko-1"} <= self.leaving()


# Every step writes to the disk and waits for it.
People.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
test_nothing_leaves_that_may_not = People.TestCase
