"""The release folder: what is in it, what is refused, and that nothing is ever half there."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support import CHECKOUT, Run, Write

from cats_alpaca import (
    ReleaseError,
    Report,
    SourceError,
    StoriesError,
    build,
    check_release,
    writing,
)
from cats_alpaca.card import MARK
from cats_alpaca.formats import CONFIGS


def records(count: int, word: str = "a") -> list[dict[str, str]]:
    return [{"id": f"{n}", "question": f"質問{n}", "answer": f"{word}{n}"} for n in range(count)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "release"


def test_the_committed_release_is_what_the_stories_make() -> None:
    check_release(out=CHECKOUT / "cats_alpaca")


def test_a_release_holds_a_card_and_every_config(out: Path, write: Write) -> None:
    report = Report()
    facts = build(write(records(3), "train.jsonl"), write(records(1), "test.jsonl"), out=out, report=report)
    shards = [f"data/{config}/{split}-00000-of-00001.parquet" for config in CONFIGS for split in ("train", "test")]
    assert sorted(content(out)) == sorted(["README.md", "assets/lengths.png", "dataset_info.json", *shards])
    assert {config: {split: f.rows for split, f in splits.items()} for config, splits in facts.items()} == {
        config: {"train": 3, "test": 1} for config in CONFIGS
    }
    assert (report.read, report.kept, report.rejected) == (4, 4, 0)
    assert pq.read_table(out / shards[0]).to_pylist() == [
        {"instruction": f"質問{n}", "input": "", "output": f"a{n}"} for n in range(3)
    ]


def test_the_cards_numbers_are_those_of_the_files(out: Path, write: Write) -> None:
    build(write(records(3)), out=out)
    card = yaml.safe_load((out / "README.md").read_text("utf-8").split("---\n")[1])
    assert [config["config_name"] for config in card["configs"] if config.get("default")] == ["alpaca"]
    for info in card["dataset_info"]:
        files = list((out / "data" / info["config_name"]).glob("train-*"))
        assert info["splits"] == [
            {
                "name": "train",
                "num_bytes": sum(pq.read_metadata(f).row_group(0).total_byte_size for f in files),
                "num_examples": sum(pq.read_table(f).num_rows for f in files),
            }
        ]
        assert info["download_size"] == sum(f.stat().st_size for f in files)


def test_published_parquet_has_no_schema_metadata_and_plain_strings(out: Path, write: Write) -> None:
    build(write(records(2)), out=out)
    for config, (schema, _) in CONFIGS.items():
        [file] = (out / "data" / config).glob("*.parquet")
        assert pq.read_schema(file).metadata is None
        assert pq.read_schema(file).equals(schema)


def test_without_test_or_fraction_there_is_no_test_split(out: Path, write: Write) -> None:
    assert list(build(write(records(5)), out=out)["alpaca"]) == ["train"]


def test_a_fraction_splits_by_content_so_that_new_stories_move_no_old_one(tmp_path: Path, write: Write) -> None:
    def test_rows(name: str, count: int) -> set[str]:
        folder = tmp_path / name
        build(write(records(count), f"{name}.jsonl"), out=folder, test_fraction=0.2)
        return set(pq.read_table(folder / "data" / "alpaca" / "test-00000-of-00001.parquet")["instruction"].to_pylist())

    small, large = test_rows("small", 200), test_rows("large", 400)
    assert 20 < len(small) < 60
    assert small == {question for question in large if int(question[2:]) < 200}


def test_shards_are_bounded_and_stale_ones_go(out: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write([{"question": f"{n}", "answer": "長い" * 50} for n in range(500)])
    monkeypatch.setattr(writing, "ROW_GROUP_BYTES", 5_000)
    build(source, out=out, max_shard_size=20_000, block_bytes=5_000)
    files = sorted((out / "data" / "alpaca").iterdir())
    assert [file.name for file in files] == [f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))]
    assert len(files) > 5
    assert [row["instruction"] for file in files for row in pq.read_table(file).to_pylist()] == [
        f"{n}" for n in range(500)
    ]
    assert all(
        pq.read_metadata(file).row_group(i).total_byte_size < 15_000
        for file in files
        for i in range(pq.read_metadata(file).num_row_groups)
    )
    monkeypatch.undo()
    check_release(source, out=out)  # however the rows are cut
    with pytest.raises(ReleaseError, match="the rows of alpaca/train; the rows of chat/train"):
        check_release(write(records(500), "other.jsonl"), out=out)
    build(source, out=out)
    assert [file.name for file in (out / "data" / "alpaca").iterdir()] == ["train-00000-of-00001.parquet"]


def test_a_test_split_that_is_gone_leaves_no_files(out: Path, write: Write) -> None:
    build(write(records(3), "train.jsonl"), write(records(1), "test.jsonl"), out=out)
    build(write(records(3), "train.jsonl"), out=out)
    assert not [name for name in content(out) if "test" in name]


def test_only_what_it_manages_is_touched(out: Path, write: Write) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    build(write(records(3)), out=out)
    (out / "data" / "mine.csv").write_text("mine")
    build(write(records(2)), out=out)
    assert (out / "notes.txt").read_text() == (out / "data" / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "foreign", ["README.md", "data/x.csv", "assets/lengths.png", "assets/topics.png", "dataset_info.json"]
)
def test_a_foreign_card_or_data_is_refused_unless_forced(out: Path, write: Write, foreign: str) -> None:
    (out / foreign).parent.mkdir(parents=True)
    (out / foreign).write_text("somebody's")
    before = content(out)
    with pytest.raises(ReleaseError, match="--force"):
        build(write(records(1)), out=out)
    assert content(out) == before
    build(write(records(1)), out=out, force=True)
    assert MARK in (out / "README.md").read_text("utf-8")


@pytest.mark.parametrize("bad", [[*records(2), {"question": "x"}], []])
def test_bad_stories_leave_the_old_release_as_it_was(out: Path, write: Write, bad: list[object]) -> None:
    build(write(records(1)), out=out)
    before = content(out)
    with pytest.raises(StoriesError):
        build(write(bad), out=out)
    assert content(out) == before


def test_a_missing_source_leaves_nothing(out: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.jsonl: there is no such file"):
        build("nothing.jsonl", out=out)
    assert not out.exists()


def test_a_split_without_stories_is_an_error(out: Path, write: Write) -> None:
    train = write(records(3), "train.jsonl")
    with pytest.raises(ReleaseError, match="the test sources hold no stories"):
        build(train, write(b"", "test.jsonl"), out=out, report=Report())
    with pytest.raises(ReleaseError, match="no story is left for the train split"):
        build(train, out=out, test_fraction=0.999999)
    assert not out.exists()


def test_check_sees_a_file_that_is_no_parquet(out: Path, write: Write) -> None:
    source = write(records(2))
    build(source, out=out)
    (out / "data" / "alpaca" / "train-00000-of-00001.parquet").write_text("x")
    with pytest.raises(ReleaseError, match="is stale: it cannot be read"):
        check_release(source, out=out)


def test_check_sees_a_changed_dataset_info(out: Path, write: Write) -> None:
    source = write(records(2))
    build(source, out=out)
    (out / "dataset_info.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"is stale: dataset_info\.json\."):
        check_release(source, out=out)


def test_check_sees_stale_rows_schema_and_card(out: Path, write: Write) -> None:
    source = write(records(2))
    build(source, out=out)
    check_release(source, out=out)

    with pytest.raises(ReleaseError, match="the rows of alpaca/train; "):
        check_release(write(records(2, "b"), "other.jsonl"), out=out)

    readme = out / "README.md"
    readme.write_text(readme.read_text("utf-8").replace("| rows | 2:", "| rows | 3:"), "utf-8")
    with pytest.raises(ReleaseError, match=r"is stale: the card README\.md\."):
        check_release(source, out=out)

    build(source, out=out)
    shard = out / "data" / "alpaca" / "train-00000-of-00001.parquet"
    table = pq.read_table(shard)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({})}), shard)
    with pytest.raises(ReleaseError, match="the schema of data/alpaca"):
        check_release(source, out=out)
    pq.write_table(table.set_column(1, "input", table["input"].cast(pa.large_string())), shard)
    with pytest.raises(ReleaseError, match="the schema of data/alpaca"):
        check_release(source, out=out)


def test_the_command_builds_checks_and_says_what_it_did(run: Run, write: Write, out: Path) -> None:
    source = write(records(3))
    done = run("build", "--train", source, "--out", str(out), "--license", "mit")
    assert (done.returncode, done.stderr) == (0, "3 lines read = 3 kept + 0 rejected\n")
    assert "train 3 rows" in done.stdout
    assert run("build", "--train", source, "--out", str(out), "--check").returncode == 0
    write(records(4))
    stale = run("build", "--train", source, "--out", str(out), "--check")
    assert stale.returncode == 1
    assert stale.stderr.startswith(f"Error: {out} is stale: the rows of alpaca/train;")


def test_the_command_names_bad_lines_and_writes_nothing(run: Run, write: Write, out: Path) -> None:
    source = write([{"question": "x"}] * 30 + records(1))
    done = run("build", "--train", source, "--out", str(out))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"{source}:1: there is no key 'answer' [missing-key]"
    assert lines[20:] == ["and 10 more", "31 lines read = 1 kept + 30 rejected"]
    assert not out.exists()


@pytest.mark.parametrize("command", ["build --train {} --out out", "check {}", "convert {} out.jsonl"])
def test_records_of_alpaca_s_shape_are_told_how_to_be_read(run: Run, write: Write, command: str) -> None:
    source = write([{"instruction": "なぜ？", "input": "", "output": "はい。"}], "alp.jsonl")
    done = run(*command.format(source).split())
    assert done.returncode == 1
    assert f"{source}:1: " in done.stdout + done.stderr
    assert "; read them with --from alpaca" in done.stdout + done.stderr
    assert run(*command.format(source).split(), "--from", "alpaca").returncode == 0


def test_a_fraction_that_leaves_the_test_split_empty_is_told(run: Run, write: Write) -> None:
    source = write(records(5))
    done = run("build", "--train", source, "--test-fraction", "0.001", "--license", "mit", "--out", "out")
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, [
        "Warning: --test-fraction 0.001 of 5 stories gave none to the test split, so there is no such split; "
        "take a larger fraction, or name a file with --test",
    ])  # fmt: skip
    many = run("build", "--train", source, "--test-fraction", "0.5", "--license", "mit", "--out", "half")
    assert "Warning" not in many.stderr
