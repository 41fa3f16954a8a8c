"""Converting to one file: exact, whole or not at all, and explained."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Run, Write

from cats_alpaca import SourceError, StoriesError, convert
from cats_alpaca.conversion import writer_for
from cats_alpaca.formats import CONFIGS

RECORDS = [
    {
        "id": "1",
        "question": "なぜ鳴く？\n",
        "answer": "朝\u2028です😺\x7f。",
        "context": "去年も。",
        "experience": "own",
    },
    {"question": '"q"\\', "answer": "</a>"},
]
ROWS = [
    {"instruction": "なぜ鳴く？", "input": "去年も。", "output": "朝\u2028です😺\x7f。"},
    {"instruction": '"q"\\', "input": "", "output": "</a>"},
]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("config", CONFIGS)
def test_every_ending_holds_the_same_rows(write: Write, tmp_path: Path, config: str) -> None:
    source = write(RECORDS)
    for ending in ("json", "jsonl", "parquet"):
        assert convert(source, tmp_path / f"out.{ending}", config=config).kept == 2
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert json.loads((tmp_path / "out.json").read_bytes()) == rows
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").split("\n")[:-1]] == rows
    assert polars.read_parquet(tmp_path / "out.parquet").to_dicts() == rows
    if config == "alpaca":
        assert rows == ROWS
    if config == "stories":
        assert (rows[0]["id"], rows[0]["experience"], rows[1]["id"]) == ("1", "own", "")


@given(
    st.lists(
        st.fixed_dictionaries(
            {key: st.text().filter(lambda t: t and t == t.strip()) for key in ("question", "answer")}
        ),
        min_size=1,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_is_byte_for_byte_what_json_dump_writes(
    write: Write, tmp_path: Path, records: list[dict[str, str]]
) -> None:
    source = write(records)
    # The program that first described this dataset: question, an empty input, answer; json.dump with four spaces.
    with open(tmp_path / "expected.json", "w") as stream:
        rows = [{"instruction": record["question"], "input": "", "output": record["answer"]} for record in records]
        json.dump(rows, stream, indent=4)
    convert(source, tmp_path / "alpaca.json", block_bytes=200)
    assert (tmp_path / "alpaca.json").read_bytes() == (tmp_path / "expected.json").read_bytes()


@pytest.mark.parametrize("config", CONFIGS)
def test_json_of_every_config_is_what_json_dump_writes(write: Write, tmp_path: Path, config: str) -> None:
    convert(write(RECORDS * 5), tmp_path / "out.json", config=config, block_bytes=200)
    text = (tmp_path / "out.json").read_text("ascii")
    assert text == json.dumps(json.loads(text), indent=4)


def test_another_ending_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'cats.csv' must end in \.json, \.jsonl, \.parquet"):
        writer_for("cats.csv")


# ---- bad lines

BAD = [RECORDS[0], {"question": "x"}, RECORDS[1]]


def test_a_bad_line_leaves_an_old_destination_as_it_was(write: Write, tmp_path: Path) -> None:
    source = write(BAD)
    out = tmp_path / "out"
    out.mkdir()
    (out / "cats.json").write_text("old")
    with pytest.raises(StoriesError, match=r"cats\.jsonl:2: there is no key 'answer'"):
        convert(source, out / "cats.json")
    assert (names(out), (out / "cats.json").read_text()) == (["cats.json"], "old")


def test_rejects_hold_the_bad_lines_and_the_rest_is_kept(write: Write, tmp_path: Path) -> None:
    good = json.dumps(RECORDS[0]).encode()
    lines = [good, '{"question": "猫"}'.encode(), b"\xff\xfe", b'"' + "長".encode() * 1000 + b'"', good]
    source = write(b"\n".join(lines))
    report = convert(source, tmp_path / "out.parquet", rejects=tmp_path / "bad.jsonl", max_line_bytes=1500)
    assert (report.read, report.kept, report.rejected) == (5, 2, 3)
    rejects = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text("utf-8").splitlines()]
    assert [(reject["file"], reject["line"], reject["byte"], reject["code"]) for reject in rejects] == [
        (source, 2, len(good) + 1, "missing-key"),
        (source, 3, len(good) + len(lines[1]) + 2, "invalid-encoding"),
        (source, 4, len(good) + len(lines[1]) + 5, "line-too-long"),
    ]
    assert (rejects[0]["raw"], rejects[1]["raw_base64"]) == ('{"question": "猫"}', "//4=")
    assert (rejects[2]["raw"], rejects[2]["bytes"]) == ('"' + "長" * 341, 3002)
    assert "raw" not in rejects[1]
    assert "bytes" not in rejects[0]
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 2


def test_when_nothing_is_kept_the_rejects_are_there_all_the_same(write: Write, tmp_path: Path) -> None:
    with pytest.raises(StoriesError):
        convert(write([{}] * 3), tmp_path / "out.json", rejects=tmp_path / "bad.jsonl")
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "out.json").exists()


# ---- the command


def test_the_command_converts_and_reports(run: Run, write: Write, tmp_path: Path) -> None:
    source, out, report = write(BAD), str(tmp_path / "o.json"), tmp_path / "report.json"
    done = run("convert", source, out, "--report", str(report))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"{source}:2: there is no key 'answer' [missing-key]\n3 lines read = 2 kept + 1 rejected\n")
    byte = len(json.dumps(BAD[0])) + 1
    expected = {
        "read": 3,
        "kept": 2,
        "rejected": 1,
        "by_code": {"missing-key": 1},
        "problems": [
            {"file": source, "line": 2, "byte": byte, "code": "missing-key", "reason": "there is no key 'answer'"}
        ],
    }
    assert json.loads(report.read_text("utf-8")) == expected
    done = run("convert", source, out, "--report", str(report), "--rejects", str(tmp_path / "bad.jsonl"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}\n", "3 lines read = 2 kept + 1 rejected\n")
    assert json.loads(report.read_text("utf-8")) == expected
    assert json.loads(Path(out).read_bytes()) == ROWS


def test_the_command_reads_standard_input_other_keys_and_other_encodings(run: Run, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"Q": "猫", "output": "犬", "input": n}, ensure_ascii=False) + "\n" for n in ("", "鳥"))
    out = tmp_path / "o.jsonl"
    options = ["--from", "alpaca", "--question-key", "Q", "--encoding", "cp932"]
    assert run("convert", "-", str(out), *options, input=lines, encoding="cp932").returncode == 0
    assert [json.loads(line)["input"] for line in out.read_text("utf-8").splitlines()] == ["", "鳥"]


def test_the_report_is_there_when_the_source_is_not(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run("convert", "nothing.jsonl", "o.json", "--report", str(report))
    assert (done.returncode, done.stderr) == (1, "Error: nothing.jsonl: there is no such file; check the name\n")
    assert json.loads(report.read_text())["read"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{cats}", "out.csv"], 2, "must end in .json, .jsonl, .parquet"),
        (["{cats}", "out.json", "--question-key", "answer"], 2, "three different keys"),
        (["{cats}", "out.json", "--max-line-bytes", "0"], 2, "--max-line-bytes"),
        (["{cats}", "out.json", "--config", "llama"], 2, "--config"),
        (["{cats}", "out.json", "--encoding", "klingon"], 1, "no encoding is called 'klingon'"),
        (["{cats}", "no/such/folder/out.json"], 1, "No such file or directory"),
        (["{cats}", "a-folder.json"], 1, "This is a folder"),
        ([".", "out.json"], 1, "is a folder; name the files in it"),
        (["*.nothing", "out.json"], 1, "no file matches this pattern"),
        (["{cats}", "out.jsonl", "--rejects", "out.jsonl"], 2, "out.jsonl is read or written by this command already"),
        (["{cats}", "out.jsonl", "--rejects", "r", "--report", "r"], 2, "r is read or written by this command already"),
        (["{cats}", "out.json", "--report", "{cats}"], 2, "is read or written by this command already"),
        (["{cats}", "{cats}"], 2, "is read or written by this command already"),
    ],
)
def test_wrong_usage_is_one_sentence(
    run: Run, write: Write, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "cwd" / "a-folder.json").mkdir()
    source = write(RECORDS)
    done = run("convert", *(argument.format(cats=source) for argument in arguments))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path / "cwd") == ["a-folder.json"]


def test_a_closed_pipe_is_no_error(write: Write, tmp_path: Path) -> None:
    command = f"{sys.executable} -m cats_alpaca convert {write(RECORDS)} {tmp_path}/o.json 2>&1 >&- ; echo $?"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stdout


# ---- interruptions


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("large") / "large.jsonl"
    file.write_text(
        "".join(json.dumps({"question": f"{n}", "answer": os.urandom(150).hex()}) + "\n" for n in range(60_000))
    )
    yield file
    file.unlink()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "cats.jsonl").write_text("old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    for name in ("cats.jsonl", "cats.json", "cats.parquet"):
        done = subprocess.run(
            [sys.executable, "-m", "cats_alpaca", "convert", str(large), str(out / name)],
            preexec_fn=limit,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == "Error: File too large"
        assert "Traceback" not in done.stderr
        assert (names(out), (out / "cats.jsonl").read_text()) == (["cats.jsonl"], "old")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_interrupting_at_any_moment_leaves_the_old_file_or_the_new_one(
    large: Path, tmp_path: Path, sent: signal.Signals, ending: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    target = out / f"cats.{ending}"
    command = [sys.executable, "-m", "cats_alpaca", "convert", str(large), str(target)]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole, took = target.read_bytes(), time.monotonic() - started
    for step in range(12):
        target.write_text("old")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(took * (step + 1) / 12)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=20)
        assert "Traceback" not in errors or "in invoke" not in errors  # before a command runs, Python answers itself
        assert names(out) == [target.name]
        assert target.read_bytes() in (b"old", whole)


def test_ctrl_c_while_waiting_for_standard_input_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cats_alpaca", "convert", "-", str(tmp_path / "o.json")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors.lstrip()) == (1, "Aborted!\n")
    assert names(tmp_path) == []


def test_a_link_keeps_pointing_where_it_points_and_new_files_have_usual_rights(write: Write, tmp_path: Path) -> None:
    source = write(RECORDS)
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    convert(source, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    (tmp_path / "usual").touch()
    assert (tmp_path / "real.json").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "real.json").chmod(0o600)
    convert(source, tmp_path / "link.json")
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to_and_not_replaced(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rejects")
    reader = subprocess.Popen(["cat", str(tmp_path / "rejects")], stdout=subprocess.PIPE, text=True)
    convert(write(BAD), tmp_path / "o.json", rejects=tmp_path / "rejects")
    assert json.loads(reader.communicate(timeout=10)[0])["code"] == "missing-key"


def test_a_file_name_that_is_no_utf_8_is_reported(run: Run, tmp_path: Path) -> None:
    name = os.fsdecode(str(tmp_path).encode() + b"/f\x83n.jsonl")
    Path(name).write_text('{"question": "q"}\n' + json.dumps(RECORDS[1]))
    report, rejects = tmp_path / "report.json", tmp_path / "bad.jsonl"
    out = str(tmp_path / "o.json")
    assert run("convert", name, out, "--report", str(report), "--rejects", str(rejects)).returncode == 0
    assert json.loads(report.read_text("utf-8"))["problems"][0]["file"] == name
    assert json.loads(rejects.read_text("utf-8"))["file"] == name


def test_a_source_that_breaks_off_leaves_the_old_file(tmp_path: Path, write: Write) -> None:
    (tmp_path / "o.json").write_text("old")
    file = write(gzip.compress(b"".join(json.dumps(RECORDS[1]).encode() + b"\n" for _ in range(5000)))[:-10], "x.gz")
    with pytest.raises(SourceError):
        convert(file, tmp_path / "o.json", block_bytes=1000)
    assert (tmp_path / "o.json").read_text() == "old"
