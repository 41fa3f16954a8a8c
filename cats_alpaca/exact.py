"""One line of JSONL, read exactly: a record, or the first thing that is wrong with it.

This is the slow half of the reader (`stories.py` has the fast one), and the one that explains. It accepts what RFC 8259
accepts, one object a line, at any depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn, TypeVar

from .sources import HEAD_BYTES, Block

Record = dict[str, str]
"""A story's texts by their column; what the record does not have is left out."""

EXTRAS = ("id", "topic", "experience")
_SPACE = " \t\r"
_Read = TypeVar("_Read")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(
    r"[ \t\r]*(?:"
    r"(?P<mark>[{}\[\],:])"
    r'|(?P<string>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
    r"|(?P<scalar>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null))"
)


class Keys(NamedTuple):
    """What a record's question, answer and context are called."""

    question: str
    answer: str
    context: str


class Problem(NamedTuple):
    """A bad line.

    Attributes:
        file: the source's name.
        line: its number, from 1; 0 for the file as a whole.
        byte: the offset of the line's first byte in the (decompressed) file.
        code: a stable word, such as `wrong-type`.
        reason: what is wrong, and what to do.
        raw: the line's bytes without the line end, or the first 1,024 of a line that is too long.
        size: the line's length in bytes without the line end.
        encoding: how `raw` is encoded.
    """

    file: str
    line: int
    byte: int
    code: str
    reason: str
    raw: bytes = b""
    size: int = 0
    encoding: str = "utf-8"

    def as_dict(self) -> dict[str, object]:
        """Give what a report tells of it."""
        return {"file": self.file, "line": self.line, "byte": self.byte, "code": self.code, "reason": self.reason}

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.reason} [{self.code}]"


class BadLineError(Exception):
    """The first thing that is wrong with a line: a code and a reason."""


def read_lines(
    block: Block, keys: Keys, max_line_bytes: int, extras: bool = True
) -> tuple[list[int], list[Record], list[Problem]]:
    r"""Read a block's lines one by one: the numbers of the good ones, their records, the problems of the others.

    >>> raw = '{"question": "鳴く", "answer": "朝です"}\n\n{"question": "鳴く"}\n'.encode()
    >>> from cats_alpaca.sources import find_newlines
    >>> block = Block("cats.jsonl", 1, 0, raw, "utf-8", find_newlines(raw, "utf-8"), len(raw))
    >>> lines, records, problems = read_lines(block, Keys("question", "answer", "context"), 1000)
    >>> lines, records
    ([1], [{'question': '鳴く', 'answer': '朝です'}])
    >>> str(problems[0]), problems[0].byte
    ("cats.jsonl:3: there is no key 'answer' [missing-key]", 47)
    """
    return read_each(block, max_line_bytes, lambda text: read_line(text, keys, extras))


def read_each(
    block: Block, max_line_bytes: int, read: Callable[[str], _Read]
) -> tuple[list[int], list[_Read], list[Problem]]:
    """Read a block's lines one by one with a function that raises `BadLineError` where one is bad."""
    lines, records, problems = [], [], []
    for line, byte, raw in block.lines():
        size = block.size if block.cut else len(raw)
        try:
            if size > max_line_bytes:
                raw = raw[:HEAD_BYTES]
                _bad("line-too-long", f"the line has {size:,} bytes; allow more with --max-line-bytes")
            text = _decode(raw, block.encoding)
            if text.strip(_SPACE):
                records.append(read(text))
                lines.append(line)
        except BadLineError as error:
            code, reason = error.args
            problems.append(Problem(block.file, line, byte, code, reason, raw, size, block.encoding))
    return lines, records, problems


def read_line(text: str, keys: Keys, extras: bool) -> Record:
    """Read one line as a record."""
    pairs = _parse(text)
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found and key in keys:
            _bad("duplicate-key", f"the key {key!r} stands twice; keep one")
        found[key] = value
    if keys.question not in found and found.keys() >= {"instruction", "output"}:
        reason = "but 'instruction' and 'output', as Alpaca has them; read them with --from alpaca"
        _bad("missing-key", f"there is no key {keys.question!r}, {reason}")
    record = {"question": _required(found, keys.question), "answer": _required(found, keys.answer)}
    context = found.get(keys.context)
    if context is not None:
        record["context"] = _text(keys.context, context).strip()
    for name in EXTRAS if extras else ():
        value = found.get(name)
        if name not in keys and type(value) is str and _is_unicode(value):
            record[name] = value
    return record


def read_texts(text: str, required: Iterable[str], optional: Iterable[str]) -> Record:
    """Read one line as a record of texts under these keys; it may have others, which are left out.

    >>> read_texts('{"cat": "ミケ", "seen": " くしゃみ ", "more": 1}', ("cat", "seen"), ("done",))
    {'cat': 'ミケ', 'seen': 'くしゃみ'}
    """
    found: dict[str, object] = {}
    for key, value in _parse(text):
        if key in found:
            _bad("duplicate-key", f"the key {key!r} stands twice; keep one")
        found[key] = value
    record = {key: _required(found, key) for key in required}
    return record | {key: _text(key, found[key]).strip() for key in optional if found.get(key) is not None}


def _bad(code: str, reason: str) -> NoReturn:
    raise BadLineError(code, reason)


def _decode(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        bad = raw[error.start]
        _bad(
            "invalid-encoding",
            f"byte 0x{bad:02x} at {error.start:,} bytes into the line is not {encoding};"
            " name the file's encoding with --encoding, or mend the line",
        )


def _required(found: dict[str, object], key: str) -> str:
    if key not in found:
        _bad("missing-key", f"there is no key {key!r}")
    if found[key] is None:
        _bad("null", f"{key!r} is null; give it a text or leave the record out")
    text = _text(key, found[key]).strip()
    if not text:
        _bad("blank", f"{key!r} is blank; give it a text or leave the record out")
    return text


def _text(key: str, value: object) -> str:
    if type(value) is not str:
        _bad("wrong-type", f"{key!r} must be a string, got {_shown(value)}")
    if not _is_unicode(value):
        _bad("lone-surrogate", f"{key!r} holds half of a surrogate pair, which is no character; mend the text")
    return value


def _is_unicode(text: str) -> bool:
    return text.isascii() or not _SURROGATE.search(text)


def _shown(value: object) -> str:
    """Name a JSON value as its author wrote it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, _Number):
        return str(value) if len(value) <= 30 else f"{value[:30]}…"
    return {tuple: "an object", list: "an array", type(None): "null"}.get(type(value), "a string")


class _Number(str):
    """A number's digits: never turned into a float or an int, whose limits are Python's, not JSON's."""

    __slots__ = ()


def _no_number(name: str) -> NoReturn:
    _bad("invalid-json", f"{name} is no JSON; write null or a string")


_decoder = json.JSONDecoder(object_pairs_hook=tuple, parse_float=_Number, parse_int=_Number, parse_constant=_no_number)


def _parse(text: str) -> tuple[tuple[str, object], ...]:
    """Parse a line into an object's pairs."""
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        _bad("invalid-json", _explained(text[start], error))
    except RecursionError:
        return _parse(_shallow(text))
    rest = text[end:].strip(_SPACE)
    if rest:
        _reject_rest(rest, text.index(rest, end) + 1)
    if not isinstance(value, tuple):
        _bad("not-an-object", f"a line must be an object, got {_shown(value)}{_array_hint(text[start])}")
    return value


def _explained(first: str, error: json.JSONDecodeError) -> str:
    if first == "\ufeff":
        return "a byte-order mark (U+FEFF) stands in the middle of the file; remove it"
    message = error.msg.removesuffix(" at").removesuffix(" starting")
    return f"this is no JSON: {message} at character {error.pos + 1:,}{_array_hint(first)}"


def _array_hint(first: str) -> str:
    return "; is the file a JSON array? Write one object a line: jq -c '.[]' FILE" if first == "[" else ""


def _reject_rest(rest: str, column: int) -> NoReturn:
    try:
        _decoder.raw_decode(rest)
    except json.JSONDecodeError:
        _bad("invalid-json", f"this is no JSON: text follows the object at character {column:,}")
    except RecursionError:
        pass
    _bad("two-values", f"a second value starts at character {column:,}; write one object a line")


def _shallow(text: str) -> str:
    """Check what is nested in a line's first value and empty it: `json` gives up on nesting that RFC 8259 allows."""
    kept: list[str] = []
    stack: list[str] = []
    at, expected = 0, {"[", "{", "scalar", "string"}
    while True:
        token = _TOKEN.match(text, at)
        word = token["mark"] or token.lastgroup or "" if token else ""
        if token is None or word not in expected:
            _bad("invalid-json", f"this is no JSON at character {at + 1:,}, {len(stack):,} levels deep")
        at = token.end()
        if word in "]}":
            stack.pop()
        if len(stack) < 2:
            kept.append("[]" if word in "[{" and stack else "" if word in "]}" and stack else token[0])
        if word in "[{":
            stack.append(word)
        if not stack:
            return "".join(kept) + text[at:]
        expected = _after(word, stack[-1], expected)


def _after(word: str, container: str, expected: set[str]) -> set[str]:
    """Say which tokens may follow one."""
    values = {"[", "{", "scalar", "string"}
    if word == "[":
        return values | {"]"}
    if word == "{":
        return {"string", "}"} | {"a key"}
    if word == ":":
        return values
    if word == ",":
        return values if container == "[" else {"string", "a key"}
    if "a key" in expected and word == "string":
        return {":"}
    return {",", "]" if container == "[" else "}"}
