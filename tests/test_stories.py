"""The reader: exact on good lines, exact about bad ones, and the same by its fast and its slow path."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import Write

from cats_alpaca import ALPACA, Keys, Problem, Report, SourceError, StoriesError, read_stories, stories
from cats_alpaca.exact import read_lines
from cats_alpaca.sources import Block, find_newlines

BAD = sorted((Path(__file__).parent / "bad").iterdir())
GOOD = {"question": "なぜ鳴く？", "answer": "朝です。"}
LIMIT = 10_000


def read(source: object, **options: object) -> tuple[list[dict[str, str]], list[Problem]]:
    problems: list[Problem] = []
    try:
        batches = list(read_stories(source, on_problem=problems.append, **options))  # type: ignore[arg-type]
    except StoriesError as error:  # there is no story at all
        return [], problems or error.report.problems
    return [row for batch in batches for row in batch.to_pylist()], problems


def texts(records: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(record["question"], record["answer"], record["context"]) for record in records]


# ---- one fault each


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_is_told_by_code_line_and_byte(file: Path) -> None:
    code = file.stem.partition(".")[0]
    report = Report()
    records, problems = read(str(file), max_line_bytes=LIMIT, report=report)
    [problem] = problems
    raw = file.read_bytes()
    assert (problem.code, problem.file) == (code, str(file))
    assert f"[{code}]" in str(problem)
    if code == "no-stories":
        assert (problem.line, problem.byte, records, report.read) == (0, 0, [], 0)
    else:
        bad = raw.split(b"\n")[1]
        assert (problem.line, problem.byte) == (2, raw.index(b"\n") + 1)
        assert (problem.raw, problem.size) == (bad if len(bad) < LIMIT else bad[:1024], len(bad))
        assert texts(records) == [("なぜ鳴く？", "朝です。", "")] * 2
        assert (report.read, report.kept, report.rejected, report.by_code) == (3, 2, 1, {code: 1})


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
@pytest.mark.parametrize("block_bytes", [1, 7, 64])
def test_a_bad_file_is_told_alike_whatever_the_blocks(file: Path, block_bytes: int) -> None:
    assert read(str(file), max_line_bytes=LIMIT, block_bytes=block_bytes) == read(str(file), max_line_bytes=LIMIT)


def test_every_code_has_its_file() -> None:
    assert {file.stem.partition(".")[0] for file in BAD} == {
        "invalid-json", "not-an-object", "two-values", "duplicate-key", "missing-key", "wrong-type", "null", "blank",
        "invalid-encoding", "lone-surrogate", "line-too-long", "no-stories",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"question": "x", "answer": 7}', "'answer' must be a string, got 7"),
        (b'{"question": "x", "answer": {}}', "'answer' must be a string, got an object"),
        (b'{"question": "x"}', "there is no key 'answer'"),
        (b"[1,", "jq -c"),
        (b"[1]", "jq -c"),
        (b'{"question": "\x83"}', "byte 0x83 at 14 bytes into the line is not utf-8; name the file's encoding"),
        (b'{"question": "x" "answer"}', "Expecting ',' delimiter at character 18"),
    ],
)
def test_a_reason_says_what_is_wrong_and_what_to_do(write: Write, line: bytes, reason: str) -> None:
    [problem] = read(write(line))[1]
    assert reason in problem.reason


# ---- the same as json.loads, by either path

WHITE = st.sampled_from(["", "", "", " ", "\t", "　", "\u2003", "\x85", "\n", "\x1c", "\ufeff", "\u200b"])
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
NOT_BLANK = TEXT.filter(lambda text: text.strip())
HOSTILE = st.one_of(
    NOT_BLANK,
    st.sampled_from(
        [
            "2024-01-01",
            "1",
            "null",
            "NaN",
            "true",
            "😺",
            "a\u2028b\u2029c",
            "\x00",
            "…",
            "「朝」",
            "}\n{",
            "Infinity,",
            '"',
            "\\",
        ]
    ),
)
STORED = st.builds(lambda before, text, after: before + text + after, WHITE, HOSTILE, WHITE)
IGNORED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
RECORD = st.builds(
    lambda more, wanted: {**more, **wanted},
    st.dictionaries(TEXT, IGNORED, max_size=3),
    st.fixed_dictionaries(
        {"question": STORED, "answer": STORED},
        optional={
            "context": st.one_of(STORED, st.none(), st.just(""), st.just(" 　")),
            "id": st.one_of(TEXT, st.integers(), st.none()),
            "topic": TEXT,
            "experience": IGNORED,
        },
    ),
)


def serialized(draw: st.DrawFn, record: object) -> bytes:
    line = json.dumps(
        record,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " :\r")])),
    ).encode()
    return (
        draw(st.sampled_from([b"", b"", b"", b" ", b"\t"])) + line + draw(st.sampled_from([b"", b"", b"", b" ", b"\r"]))
    )


@st.composite
def files(draw: st.DrawFn, records: st.SearchStrategy[object] = RECORD) -> bytes:
    lines = [serialized(draw, record) for record in draw(st.lists(records, min_size=1, max_size=12))]
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from([b"", b"  ", b"\t\r"])))
    bom = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return bom + b"\n".join(lines) + draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))


def as_loads_does(raw: bytes) -> list[dict[str, str]]:
    found = []
    for line in raw.decode("utf-8-sig").split("\n"):
        if line.strip(" \t\r"):
            record = json.loads(line)
            row = {key: record.get(key) for key in ("id", "topic", "question", "answer", "context", "experience")}
            row = {key: value if isinstance(value, str) else "" for key, value in row.items()}
            found.append(
                {key: row[key].strip() if key in ("question", "answer", "context") else row[key] for key in row}
            )
    return found


@given(raw=files(), block_bytes=st.integers(1, 300))
@example(raw=b'{"question":"a","answer":"b"}\n\n{"question":"c","answer":"d"}{"x":1', block_bytes=300)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_records_read_as_json_loads_reads_them(tmp_path: Path, raw: bytes, block_bytes: int) -> None:
    file = tmp_path / "cats.jsonl"
    file.write_bytes(raw)
    records, problems = read(str(file), block_bytes=block_bytes)
    if not problems:
        assert records == as_loads_does(raw)
    # However it is cut, and by the exact path alone, it is the same.
    assert (records, problems) == read(str(file))
    start = len(raw) - len(raw.removeprefix(b"\xef\xbb\xbf"))
    body = raw[start:]
    block = Block(str(file), 1, start, body, "utf-8", find_newlines(body, "utf-8"), len(body))
    _, exact, exact_problems = read_lines(block, stories.STORIES, 1 << 24)
    empty = dict.fromkeys(stories.SCHEMA.names, "")
    assert [{**empty, **record} for record in exact] == records
    assert exact_problems == problems


@given(raw=files(), data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_corruption_of_a_line_is_that_lines_problem(tmp_path: Path, raw: bytes, data: st.DataObject) -> None:
    start = len(raw) - len(raw.removeprefix(b"\xef\xbb\xbf"))
    lines = raw[start:].split(b"\n")
    number = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.strip(b" \t\r")]))
    line = lines[number]
    at = data.draw(st.integers(0, len(line)))
    lines[number] = line[:at] + data.draw(st.sampled_from([b"\xff", b"\x00", b"\x0c", b"{", b"[", b"]}"])) + line[at:]
    file = tmp_path / "cats.jsonl"
    file.write_bytes(raw[:start] + b"\n".join(lines))
    report = Report()
    records, problems = read(str(file), report=report, block_bytes=data.draw(st.integers(1, 300)))
    offset = start + sum(len(line) + 1 for line in lines[:number])
    # A brace or a bracket inside a text harms nothing.
    assert [(problem.line, problem.byte, problem.raw) for problem in problems] in (
        [],
        [(number + 1, offset, lines[number])],
    )
    assert report.read == report.kept + report.rejected == sum(bool(line.strip(b" \t\r")) for line in lines)
    assert report.kept == len(records)
    assert report.rejected == len(problems)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
@pytest.mark.parametrize("block_bytes", [1000, 60_000, 1 << 22])
def test_good_lines_behind_one_that_is_too_long_are_all_there(write: Write, codec: str, block_bytes: int) -> None:
    lines = [json.dumps({"question": f"{n}", "answer": "a" * 80}) for n in range(5000)]
    long = "x" * 300_000
    text = "".join(line + "\n" for line in [*lines[:10], long, *lines[10:]])
    records, [problem] = read(write(text.encode(codec)), max_line_bytes=1000, block_bytes=block_bytes)
    assert [record["question"] for record in records] == [f"{n}" for n in range(5000)]
    width, start = (2, 2) if codec == "utf-16" else (1, 0)
    assert (problem.code, problem.line, problem.size) == ("line-too-long", 11, width * 300_000)
    assert problem.byte == start + width * sum(len(line) + 1 for line in lines[:10])
    assert problem.raw == ("x" * 1024).encode("utf-16-le" if width == 2 else "utf-8")[:1024]


def test_the_fast_path_takes_ordinary_files_and_the_exact_one_is_not_asked(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cats_alpaca.exact.read_lines", None)
    lines = [{**GOOD, "context": "c", "id": "i", "n": [{"deep": [1.5, None]}]}, {**GOOD, "answer": "「朝」です…"}]
    for raw in (
        "".join(json.dumps(line) + "\n" for line in lines).encode(),
        "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode(),
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-16"),
        b'{"question": "Information on NaN", "answer": "Inf", "x": "\\u2028"}\n',
    ):
        assert len(read(write(raw))[0]) in (1, 2)


@pytest.mark.parametrize("depth", [10, 1_000, 200_000])
def test_deep_nesting_in_an_ignored_key_is_accepted(write: Write, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        value = opening * depth + "1e999" + closing * depth
        assert texts(read(write(f'{{"question": "q", "x": {value}, "answer": "a"}}\n'.encode()))[0]) == [("q", "a", "")]


def test_limits_of_python_are_not_limits_of_json(write: Write) -> None:
    raw = b'{"question": "q", "answer": "a", "x": ' + b"1" * 10_000 + b', "y": -1e999, "z": "\\ud800"}'
    assert texts(read(write(raw))[0]) == [("q", "a", "")]


# ---- sources


def test_several_files_and_patterns_are_read_in_order(write: Write, tmp_path: Path) -> None:
    for name in ("b-2.jsonl", "b-1.jsonl", "a.jsonl", "[x].jsonl"):
        write([{"question": name, "answer": "a"}], name)
    found = read([str(tmp_path / "b-*.jsonl"), str(tmp_path / "a.jsonl"), str(tmp_path / "[x].jsonl")])[0]
    assert [record["question"] for record in found] == ["b-1.jsonl", "b-2.jsonl", "a.jsonl", "[x].jsonl"]


def zstd(raw: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(raw, asbytes=True))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
@pytest.mark.parametrize("name", ["cats.jsonl.z", "cats"])
def test_compressed_files_are_known_by_their_content(write: Write, name: str, compress: object) -> None:
    raw = "".join(json.dumps({"question": f"{n}", "answer": "a"}) + "\n" for n in range(3000)).encode()
    assert callable(compress)
    halves = compress(raw[:60_001]) + compress(raw[60_001:])  # a file may be several, one after the other
    assert [record["question"] for record in read(write(halves, name))[0]] == [f"{n}" for n in range(3000)]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_truncated_archive_is_an_error_that_names_it(write: Write, compress: object) -> None:
    assert callable(compress)
    raw = compress("".join(json.dumps({**GOOD, "n": n}) + "\n" for n in range(3000)).encode())
    with pytest.raises(SourceError, match=r"cats\.jsonl: cannot be read"):
        read(write(raw[:-20]))


def test_a_url_is_read_over_http(write: Write, tmp_path: Path) -> None:
    write([GOOD] * 3, "served/cats.jsonl")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/cats.jsonl"
        assert len(read(url)[0]) == 3
        with pytest.raises(SourceError, match="no such file"):
            read(f"{url}.missing")
    finally:
        server.shutdown()
        server.server_close()


def test_any_fsspec_url_and_its_patterns_are_read() -> None:
    memory = fsspec.filesystem("memory")
    for name in "ab":
        memory.pipe(f"/cats/{name}.jsonl", json.dumps({**GOOD, "id": name}).encode())
    assert [record["id"] for record in read("memory://cats/*.jsonl")[0]] == ["a", "b"]
    assert len(read("memory://cats/a.jsonl")[0]) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.jsonl", "nothing.jsonl: there is no such file; check the name"),
        ("nothing-*.jsonl", r"nothing-\*.jsonl: no file matches"),
        (".", r"\.: is a folder; name the files in it"),
        ("memory://nothing.jsonl", "no such file"),
        ("nonsense://cats.jsonl", "nonsense://cats.jsonl: cannot be read"),
        ("nonsense://*.jsonl", r"nonsense://\*.jsonl: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_it(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(source)


# ---- encodings

JAPANESE = "".join(
    json.dumps({"question": f"猫ਊ{n}", "answer": "ねこ\u0a0d"}, ensure_ascii=False) + "\n" for n in range(40)
)


@pytest.mark.parametrize("block_bytes", [1, 3, 50, 1 << 20])
@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(write: Write, codec: str, block_bytes: int) -> None:
    records = read(write(JAPANESE.encode(codec)), block_bytes=block_bytes)[0]
    assert [record["question"] for record in records] == [f"猫ਊ{n}" for n in range(40)]


def test_utf_16_big_endian_with_its_mark(write: Write) -> None:
    assert len(read(write(b"\xfe\xff" + JAPANESE.encode("utf-16-be")))[0]) == 40


def test_a_mark_in_every_file_is_allowed(write: Write) -> None:
    files = [write(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), f"{n}.jsonl") for n in range(2)]
    assert len(read(files)[0]) == 2


@pytest.mark.parametrize("codec", ["cp932", "euc_jp", "iso2022_jp", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("block_bytes", [5, 1 << 20])
def test_other_encodings_are_named_and_bytes_are_counted_in_them(write: Write, codec: str, block_bytes: int) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in (GOOD, {"question": "猫"}, GOOD)]
    records, [problem] = read(
        write("".join(line + "\r\n" for line in lines).encode(codec)), encoding=codec, block_bytes=block_bytes
    )
    assert texts(records) == [("なぜ鳴く？", "朝です。", "")] * 2
    assert (problem.code, problem.line, problem.byte) == ("missing-key", 2, len((lines[0] + "\r\n").encode(codec)))


def test_the_first_byte_that_does_not_decode_is_named(write: Write) -> None:
    line = b'{"question": "\x82\xcb\x82\xb1", "answer": "\x81\xff"}'
    [problem] = read(write(line), encoding="cp932")[1]
    assert (problem.code, "byte 0x81 at 32 bytes into the line is not cp932" in problem.reason) == (
        "invalid-encoding",
        True,
    )
    for name in ("klingon", "hex", "rot13"):
        with pytest.raises(SourceError, match=f"no encoding is called '{name}'"):
            read(write(line), encoding=name)


# ---- options


def test_keys_may_have_other_names(write: Write) -> None:
    file = write([{"問": "q", "答": "a", "背景": "c", "question": 7, "context": 7}])
    assert texts(read(file, keys=Keys("問", "答", "背景"))[0]) == [("q", "a", "c")]
    file = write([{"instruction": "q", "input": "", "output": "a"}])
    assert texts(read(file, keys=ALPACA)[0]) == [("q", "a", "")]
    with pytest.raises(ValueError, match="three different keys"):
        read(file, keys=Keys("a", "a", "b"))


def test_extras_are_kept_when_they_are_strings_and_asked_for(write: Write) -> None:
    file = write([{**GOOD, "id": " x ", "topic": "t", "experience": 7}])
    [record] = read(file)[0]
    assert (record["id"], record["topic"], record["experience"]) == (" x ", "t", "")
    [record] = read(file, extras=False)[0]
    assert (record["id"], record["topic"], record["experience"]) == ("", "", "")


def test_without_a_handler_bad_lines_raise_when_all_is_read_and_the_error_carries_them(write: Write) -> None:
    file = write([GOOD, {}, *[{"question": "x", "answer": 7}] * 1500, GOOD])
    batches = read_stories(file, block_bytes=100)
    kept: list[pa.RecordBatch] = []
    with pytest.raises(
        StoriesError, match=r"cats\.jsonl:2: there is no key 'question' \[missing-key\] \(and 1,500 more"
    ) as info:
        kept.extend(batches)
    assert sum(batch.num_rows for batch in kept) == 2
    report = info.value.report.as_dict()
    problems = report.pop("problems")
    assert report == {"read": 1503, "kept": 2, "rejected": 1501, "by_code": {"missing-key": 1, "wrong-type": 1500}}
    assert isinstance(problems, list)
    assert len(problems) == 1000
    assert problems[0] == {
        "file": file,
        "line": 2,
        "byte": len(json.dumps(GOOD)) + 1,
        "code": "missing-key",
        "reason": "there is no key 'question'",
    }


def test_a_reader_that_is_left_early_leaves_no_thread(write: Write) -> None:
    batches = read_stories(write([GOOD] * 10_000), block_bytes=100)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read_stories"]


def test_progress_counts_every_byte_of_the_file(write: Write) -> None:
    for name, raw in (("a.jsonl", b"".join([json.dumps(GOOD).encode() + b"\n"] * 500)), ("b.gz", None)):
        file = write(raw or gzip.compress(json.dumps(GOOD).encode()), name)
        done: list[int] = []
        list(read_stories(file, progress=done.append, block_bytes=1000))
        assert sum(done) == Path(file).stat().st_size
