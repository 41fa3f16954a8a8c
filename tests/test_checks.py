"""The checks: what each must find and must not, and that nothing is missed among the packaged stories."""

from __future__ import annotations

import json
import os
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from support import Run, Write

import cats_alpaca
from cats_alpaca import Finding, check
from cats_alpaca.checks import RULES, sameness
from cats_alpaca.cli.check import _CODES
from cats_alpaca.stories import ALPACA, PACKAGED

FILES = sorted((Path(__file__).parent / "checks").glob("*/*.jsonl"))
BAD = [file for file in FILES if file.name.startswith("bad")]
GOOD = [file for file in FILES if file.name.startswith("good")]


def name(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def rules(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


@pytest.mark.parametrize("file", BAD, ids=name)
def test_what_a_check_must_find(file: Path) -> None:
    found = [finding for finding in check(str(file)) if finding.rule == file.parent.name]
    assert found
    for finding in found:
        assert finding.severity == RULES[finding.rule][0]
        assert finding.file in (str(file), "")
        assert finding.message.endswith(RULES[finding.rule][1])


@pytest.mark.parametrize("file", GOOD, ids=name)
def test_what_a_check_must_not_find(file: Path) -> None:
    assert file.parent.name not in rules(check(str(file)))


def test_every_check_has_its_files() -> None:
    across_splits = {"leak-question", "leak-answer", "topic-not-in-test", "retired-id"}
    for files in (BAD, GOOD):
        assert {file.parent.name for file in files} == set(RULES) - across_splits


def test_the_packaged_stories_pass() -> None:
    assert check() == []


# ---- planted faults


def packaged() -> dict[str, list[dict[str, str]]]:
    return {s: [json.loads(line) for line in Path(f).read_text("utf-8").splitlines()] for s, f in PACKAGED.items()}


def check_splits(write: Write, splits: dict[str, list[dict[str, str]]]) -> list[tuple[str, str, int, str]]:
    files = {split: write(records, f"{split}.jsonl") for split, records in splits.items()}
    return [(f.rule, Path(f.file).stem, f.line, f.story) for f in check(train=files["train"], test=files["test"])]


def test_planted_faults_are_found_and_nothing_else(write: Write) -> None:
    splits = packaged()
    train, test = splits["train"], splits["test"]
    leaked = train[40]["question"]
    test[3]["question"] = leaked[: len(leaked) * 5 // 6] + "どうしたら。"
    train[10]["answer"] += "\n連絡は03-3581-0000まで。"
    train[20]["answer"] = "おやつに玉ねぎを少しあげると、よろこびます。毎日でもかまいません。"
    train[30]["answer"] = ""
    train[50]["answer"] = "Cats cry at dawn because they are hungry. Try to feed her a little later in the evening."
    expected = [
        ("phone-number", "train", 11, train[10]["id"]),
        ("poison-without-warning", "train", 21, train[20]["id"]),
        ("blank", "train", 31, ""),
        ("not-japanese", "train", 51, train[50]["id"]),
        ("leak-question", "test", 4, test[3]["id"]),
    ]
    assert train[20]["topic"] not in ("emergency", "poison")
    assert train[50]["topic"] not in ("emergency", "poison")
    assert check_splits(write, splits) == expected


def test_leaks_ids_and_missing_topics_are_found(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = packaged()
    train, test = splits["train"], splits["test"]
    test[0]["answer"] = train[5]["answer"]
    train[6]["id"] = train[4]["id"]
    gone = train[0]["topic"]
    splits["test"] = [story for story in test if story["topic"] != gone]
    found = check_splits(write, splits)
    assert ("leak-answer", "test", 1, test[0]["id"]) in found or test[0]["topic"] == gone
    assert ("duplicate-id", "train", 7, train[4]["id"]) in found
    assert ("topic-not-in-test", "", 0, "") in found
    (tmp_path / "stories").mkdir()
    (tmp_path / "stories" / "retired_ids.txt").write_text("neko-0003\n")
    monkeypatch.setattr("cats_alpaca.checks.path", lambda: tmp_path)
    assert rules(check()) == ["retired-id"]


def test_brute_force_finds_no_pair_that_the_check_misses(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits until there are pairs to find, and let both ways find them: all pairs, and by bands."""
    texts = [sameness.normal(story["answer"]) for stories in packaged().values() for story in stories]
    texts += [text[: len(text) * 3 // 4] + "。" for text in texts[:200]]
    sets = [{text[at : at + 3] for at in range(len(text) - 2)} for text in texts]
    true = {
        (i, j) for i, j in combinations(range(len(sets)), 2) if len(sets[i] & sets[j]) >= 0.5 * len(sets[i] | sets[j])
    }
    rows = sameness.signatures(texts)
    one_split = np.zeros(len(texts), np.int64)
    assert len(true) >= 200
    assert true <= {tuple(pair) for pair in sameness.likely_pairs(rows, one_split, 0.5, 0.35).tolist()}
    monkeypatch.setattr(sameness, "FEW", 10)
    assert true <= {tuple(pair) for pair in sameness.likely_pairs(rows, one_split, 0.5, 0.35).tolist()}
    splits = np.arange(len(texts)) // len(packaged()["train"])
    across = {(i, j) for i, j in true if splits[i] != splits[j]}
    assert across <= {tuple(pair) for pair in sameness.likely_pairs(rows, splits, 0.99, 0.35).tolist()}


def test_signatures_estimate_the_true_similarity() -> None:
    texts = [sameness.normal(story["answer"]) for story in packaged()["test"]]
    halves = [text[: len(text) // 2] + other[len(other) // 2 :] for text, other in pairwise(texts)]
    estimated = (sameness.signatures(texts[:-1]) == sameness.signatures(halves)).mean(axis=1)
    true = [sameness.similarity(text, half) for text, half in zip(texts, halves, strict=False)]
    assert np.abs(estimated - true).max() < 0.13
    assert abs((estimated - true).mean()) < 0.02


def test_a_leak_is_told_beside_a_nearer_sibling_in_the_same_split(write: Write) -> None:
    story = packaged()["train"][0]["question"]
    train = write([{"question": story, "answer": "朝です。"}], "train.jsonl")
    cut = story[: len(story) * 2 // 3]
    test = write([{"question": cut + end, "answer": end} for end in ("どうしよう。", "どうしようか。")], "test.jsonl")
    found = [(finding.rule, finding.line) for finding in check(train=train, test=test)]
    assert {("leak-question", 1), ("leak-question", 2), ("near-question", 2)} <= set(found)


def test_no_stories_and_pipes_are_told(write: Write, tmp_path: Path) -> None:
    assert rules(check(write(b"", "empty.jsonl"))) == ["no-stories"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(cats_alpaca.SourceError, match="reads its sources twice"):
        check(str(tmp_path / "pipe"))


def test_a_clean_file_keeps_what_is_good_in_any_encoding_and_once(run: Run, write: Write, tmp_path: Path) -> None:
    text = '{"question": "朝は？", "answer": "鳴きます。"}\r\n\r\n{"question": "夜は？", "answer": "なし"}\r\n'
    file, clean = write(text.encode("utf-16")), tmp_path / "clean.jsonl"
    run("check", file, file, "--write-clean", str(clean))
    assert clean.read_text("utf-8") == '{"question": "朝は？", "answer": "鳴きます。"}\n'


# ---- reading, processes, the command


def test_alpaca_keys_are_read_and_bad_lines_are_findings(write: Write) -> None:
    file = write(
        [{"instruction": "朝鳴く？", "input": "なし", "output": "おなかがすいたのでしょう。"}, {"instruction": "x"}]
    )
    assert [(f.rule, f.line) for f in check(file, keys=ALPACA)] == [("placeholder-input", 1), ("missing-key", 2)]


@pytest.mark.slow
def test_several_processes_find_what_one_finds(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    stories = [{**s, "id": f"{s['id']}-{n}"} for n in range(3) for stories in packaged().values() for s in stories]
    stories[700]["answer"] = "N/A"
    file = write(stories)
    monkeypatch.setattr("cats_alpaca.checks.BLOCK_BYTES", 300_000)
    alone = check(file)
    monkeypatch.setattr("cats_alpaca.checks._PARALLEL_BYTES", 0)
    assert check(file) == alone
    assert {"placeholder-answer", "duplicate-question", "duplicate-answer"} <= set(rules(alone))


def test_the_command_prints_a_table_and_exits_by_what_it_found(run: Run, write: Write, tmp_path: Path) -> None:
    done = run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(
        f"{sum(map(len, packaged().values()))} stories: 0 errors, 0 warnings"
    )
    assert "\x1b[" not in done.stdout
    report, clean = tmp_path / "report.json", tmp_path / "clean.jsonl"
    records = [
        {"question": "朝鳴く？", "answer": "N/A", "x": 1},
        {"question": "夜は？", "answer": "寝ています。", "x": 2},
        {},
    ]
    file = write(records)
    done = run("check", file, "--report", str(report), "--write-clean", str(clean))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{file}:1: error: answer: the whole of it is a placeholder; write an answer")
    found = json.loads(report.read_text("utf-8"))
    assert (found["stories"], found["by_rule"]) == (2, {"placeholder-answer": 1, "missing-key": 1})
    assert [json.loads(line) for line in clean.read_text("utf-8").splitlines()] == [records[1]]
    assert f"{clean}: 1 lines kept, 2 left out" in done.stderr
    assert run("check", file, "--ignore", "placeholder-answer,missing-key").returncode == 0


def test_warnings_fail_only_when_asked(run: Run, write: Write) -> None:
    file = write([{"question": "猫は？", "answer": "くわしくは https://example.org にあるそうです。"}])
    assert run("check", file).returncode == 0
    assert run("check", file, "--fail-on", "warning").returncode == 1


@pytest.mark.parametrize(
    "arguments", [["-"], ["a", "--train", "b"], ["--test", "b"], ["--ignore", "nonsense"], ["--write-clean", "x"]]
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run("check", *arguments).returncode == 2


def test_personal_data_is_never_quoted(write: Write) -> None:
    file = write([{"question": "誰？", "answer": "お電話は090-1234-5678、taro@example.org までどうぞ。"}])
    text = "".join(map(str, check(file)))
    assert "phone-number" in text
    assert "email" in text
    assert "1234" not in text
    assert "taro" not in text


def test_the_command_lines_codes_are_the_readers() -> None:
    assert set(_CODES) == {file.stem.partition(".")[0] for file in (Path(__file__).parent / "bad").iterdir()}
    assert cats_alpaca.check is check
