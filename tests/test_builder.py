"""Loading: packaged stories and other people's JSONL, prepared and streaming, never stale."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import datasets
import pytest
from support import CHECKOUT, Write

import cats_alpaca
from cats_alpaca import CatsAlpaca, StoriesError, load_dataset, prepare
from cats_alpaca.formats import CONFIGS
from cats_alpaca.stories import PACKAGED

ONE = [{"question": "なぜ鳴く？", "answer": "朝です。"}]
ROW = {"instruction": "なぜ鳴く？", "input": "", "output": "朝です。"}


def packaged_rows(split: str) -> list[dict[str, str]]:
    records = [json.loads(line) for line in Path(PACKAGED[split]).read_text("utf-8").splitlines()]
    return [{"instruction": r["question"], "input": r.get("context", ""), "output": r["answer"]} for r in records]


@pytest.mark.parametrize("streaming", [False, True])
def test_the_packaged_stories_are_the_default(tmp_path: Path, streaming: bool) -> None:
    rows = load_dataset(streaming=streaming, cache_dir=str(tmp_path))
    assert {split: list(rows[split]) for split in rows} == {split: packaged_rows(split) for split in ("train", "test")}


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_has_the_same_number_of_rows_and_no_null(tmp_path: Path, config: str) -> None:
    rows = load_dataset(config, split="test", cache_dir=str(tmp_path))
    assert len(rows) == len(packaged_rows("test"))
    assert all(value is not None for row in rows for value in row.values())


@pytest.mark.parametrize("config", CONFIGS)
def test_the_committed_release_loads_as_the_builder_does(tmp_path: Path, config: str) -> None:
    release = datasets.load_dataset(str(cats_alpaca.path()), config, cache_dir=str(tmp_path / "a"))
    built = load_dataset(config, cache_dir=str(tmp_path / "b"))
    assert release.column_names == built.column_names
    assert {split: release[split].to_list() for split in release} == {split: built[split].to_list() for split in built}
    assert release["train"].features == built["train"].features


def test_the_released_splits_share_no_row(tmp_path: Path) -> None:
    rows = load_dataset("stories", cache_dir=str(tmp_path))
    for column in ("id", "question", "answer"):
        assert not set(rows["train"][column]) & set(rows["test"][column])


def test_a_single_file_is_a_train_split(tmp_path: Path, write: Write) -> None:
    rows = load_dataset(data_files=write(ONE), cache_dir=str(tmp_path / "cache"))
    assert rows["train"].to_list() == [ROW]


def test_data_files_by_split_and_by_pattern(tmp_path: Path, write: Write) -> None:
    write(ONE, "a-1.jsonl")
    write(ONE * 2, "a-2.jsonl")
    files = {"train": str(tmp_path / "a-*.jsonl"), "test": write(ONE, "b.jsonl")}
    rows = load_dataset(data_files=files, cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == {"train": 3, "test": 1}


def test_data_dir_takes_the_jsonl_in_it_and_the_splits_from_the_names(tmp_path: Path, write: Write) -> None:
    write(ONE, "mine/train.jsonl")
    write(ONE * 2, "mine/test.jsonl")
    write(b"no JSON", "mine/train_notes.txt")
    rows = load_dataset(data_dir=str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == {"train": 1, "test": 2}


def test_a_data_dir_without_jsonl_is_an_error(tmp_path: Path, write: Write) -> None:
    write(b"no JSON", "mine/train.txt")
    with pytest.raises(cats_alpaca.SourceError, match="no JSONL file"):
        load_dataset(data_dir=str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("streaming", [False, True])
def test_compressed_files_load(tmp_path: Path, write: Write, streaming: bool) -> None:
    file = write(gzip.compress(json.dumps(ONE[0]).encode()), "cats.jsonl.gz")
    rows = load_dataset(data_files=file, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache"))
    assert list(rows) == [ROW]


@pytest.mark.slow
def test_several_processes_share_the_files_and_keep_the_order(tmp_path: Path, write: Write) -> None:
    files = [write([{"question": f"{n}", "answer": "a"}] * 3, f"{n}.jsonl") for n in range(5)]
    rows = load_dataset(data_files=files, split="train", num_proc=2, cache_dir=str(tmp_path / "cache"))
    assert rows["instruction"] == [str(n) for n in range(5) for _ in range(3)]


def test_an_empty_file_among_several_costs_nothing_and_alone_is_an_error(tmp_path: Path, write: Write) -> None:
    files = [write(b"", "empty.jsonl"), write(ONE, "one.jsonl")]
    assert load_dataset(data_files=files, split="train", cache_dir=str(tmp_path / "a")).to_list() == [ROW]
    with pytest.raises(StoriesError, match="no stories"):
        load_dataset(data_files=files[0], cache_dir=str(tmp_path / "b"))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_bad_line_is_named_and_not_hidden_behind_a_generation_error(
    tmp_path: Path, write: Write, streaming: bool
) -> None:
    file = write([*ONE, {"question": "x", "answer": 7}])
    with pytest.raises(StoriesError, match=r"cats\.jsonl:2: 'answer' must be a string, got 7 \[wrong-type\]"):
        list(load_dataset(data_files=file, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")))


def test_an_edit_of_the_same_length_and_time_is_seen(tmp_path: Path, write: Write) -> None:
    for answer in ("朝です。", "夜です。"):
        file = write([{"question": "q", "answer": answer}])
        os.utime(file, (1, 1))
        rows = load_dataset(data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
        assert rows["output"] == [answer]


def test_an_edit_of_the_mapping_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = CatsAlpaca(cache_dir=str(tmp_path)).cache_dir
    edited = tmp_path / "formats.py"
    shutil.copyfile(CHECKOUT / "cats_alpaca" / "formats.py", edited)
    edited.write_text(edited.read_text("utf-8").replace("### Input", "### Context"), "utf-8")
    monkeypatch.setattr("cats_alpaca.formats.__file__", str(edited))
    assert CatsAlpaca(cache_dir=str(tmp_path)).cache_dir != before


def test_an_unknown_config_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"alpaca.*chat.*prompt_completion.*stories"):
        load_dataset("llama", cache_dir=str(tmp_path))


def test_prepare_touches_the_default_config_last(tmp_path: Path) -> None:
    cache = str(tmp_path)
    for _ in range(2):
        default = Path(prepare(cache))
        folders = [folder for folder in (tmp_path / "cats_alpaca").glob("*/*/*") if folder.is_dir()]
        assert len(folders) == len(CONFIGS)
        assert len({folder.name for folder in folders}) == len(CONFIGS)  # a hash per config
        assert max(folders, key=lambda folder: folder.stat().st_mtime_ns) == default
        os.utime(next(folder for folder in folders if folder != default))  # as a .map on another config does
