"""Simple lines read by their quotes: what is taken is exact, and what is not simple is left to the other readers."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cats_alpaca import exact
from cats_alpaca.alike import read_alike
from cats_alpaca.sources import Block, find_newlines
from cats_alpaca.stories import STORIES

NAMES = {"question": "question", "answer": "answer", "context": "context", "id": "id"}


def read(text: bytes) -> list[dict[str, str]] | None:
    columns = read_alike(text, find_newlines(text, "utf-8"), NAMES)
    if columns is None:
        return None
    for column in columns.values():
        column.validate(full=True)
    lists = {name: column.to_pylist() for name, column in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def expected(text: bytes) -> list[dict[str, str]] | None:
    """Read exactly; None where a line is bad or blank."""
    newlines = find_newlines(text, "utf-8")
    block = Block("x", 1, 0, text, "utf-8", newlines, len(text))
    _, records, problems = exact.read_lines(block, STORIES, 10**6)
    if problems or len(records) != len(text.splitlines()):
        return None
    return [{name: record.get(name, "") for name in NAMES} for record in records]


plain = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]))
records = st.lists(
    st.dictionaries(st.sampled_from(["question", "answer", "context", "id", "猫", ""]), plain.map(str.strip)),
    min_size=1,
)


@given(records, st.sampled_from([(", ", ": "), (",", ":"), ("  ,", " :  ")]), st.booleans())
@settings(deadline=None)
def test_simple_lines_are_read_as_json_reads_them(
    lines: list[dict[str, str]], separators: tuple[str, str], newline: bool
) -> None:
    text = "\n".join(json.dumps(line, ensure_ascii=False, separators=separators) for line in lines) + "\n" * newline
    found = read(text.encode())
    if all(lines):
        assert found == [{name: line.get(name, "") for name in NAMES} for line in lines]
    else:
        assert found is None


SEED = (
    b'{"question": "q 1", "answer": "a"}\n'
    b'{"answer": "a2", "id": "7", "question": "q2"}\n'
    b'{"question":"q3","answer":"3"}\n'
)


def test_whatever_is_changed_nothing_is_read_that_the_exact_reader_refuses_or_reads_otherwise() -> None:
    rng = random.Random(1)
    taken = 0
    for _ in range(30_000):
        text = bytearray(SEED)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            piece = rng.choice(
                [b'"', b"{", b"}", b",", b":", b"\n", b" ", b"\r", b"\t", b"\\", b"x", b"1", b'"x"', b"\x00"]
            )
            text[at : at + rng.randint(0, 2)] = piece * rng.randint(0, 2)
        found = read(bytes(text))
        # The empty, the missing and the padded are seen to by whoever asked.
        if found is not None and all(line["question"].strip() and line["answer"].strip() for line in found):
            stripped = [{**line, **{n: line[n].strip() for n in ("question", "answer", "context")}} for line in found]
            assert stripped == expected(bytes(text)), bytes(text)
            taken += 1
    assert taken > 2000


@pytest.mark.parametrize(
    "text",
    [
        b'{"question": "q", "question": "p", "answer": "a"}\n',
        b'{"question": "q", "answer": 7}\n',
        b'{"question": "q", "answer": null}\n',
        b'{"question": "q", "answer": ["a"]}\n',
        b'{"question": "q", "answer": {"a": "b"}}\n',
        b'{"question": "q", "answer": "a\\n"}\n',
        b'{"question": "q", "answer": "a\nb"}\n',
        b'{"question": "q",\n"answer": "a"}\n',
        b'{"question": "q", "answer": "a"}\n\n{"question": "q", "answer": "a"}\n',
        b'{"question": "q", "answer": "a"}{"question": "q", "answer": "a"}\n',
        b'{"question": "q", "answer": "a"},\n',
        b'["question", "q", "answer", "a"]\n',
        b"{}\n",
        b"\n",
    ],
)
def test_what_is_not_simple_is_left_to_others(text: bytes) -> None:
    assert read(text) is None


def test_many_kinds_of_lines_are_left_to_others() -> None:
    lines = b"".join(b'{"question": "q", "k%d": "x"}\n' % number for number in range(300))
    assert read(lines) is None
    assert read(lines[: lines.index(b"k99")].rpartition(b"\n")[0]) is not None
