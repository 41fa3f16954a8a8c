"""Where stories come from: a path becomes line-aligned blocks of bytes that know their place in the file."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, cast

import fsspec
import pyarrow as pa

from .errors import SourceError

BLOCK_BYTES = 4 << 20
"""How much of a source is parsed at a time: big enough to be fast, small enough to have several in flight."""

HEAD_BYTES = 1024
"""How much is kept of a line that is too long."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its BOM starts with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of one file, as they stand there.

    Attributes:
        file: the source's name, as the user gave it.
        line: the number of the first line, from 1.
        byte: the offset of the first line's first byte in the (decompressed) file.
        raw: the lines' bytes, line ends included.
        encoding: how `raw` is encoded.
        size: how many bytes it takes in the file; more than `len(raw)` only for a single line that is too long, of
            which `raw` then holds the beginning.
    """

    file: str
    line: int
    byte: int
    raw: bytes
    encoding: str
    size: int

    @property
    def cut(self) -> bool:
        """Say whether this is a line that is too long, of which only the head is here."""
        return self.size > len(self.raw)

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        r"""Give every line as its number, its offset and its bytes without the `\n`.

        >>> block = Block("cats.jsonl", 7, 100, "ねこ\nmiau\n".encode("utf-16-le"), "utf-16-le", 16)
        >>> [(line, byte, raw.decode("utf-16-le")) for line, byte, raw in block.lines()]
        [(7, 100, 'ねこ'), (8, 106, 'miau')]
        """
        newline = "\n".encode(self.encoding)
        number, start = self.line, 0
        while start < len(self.raw):
            end = _find(self.raw, newline, start)
            end = len(self.raw) if end < 0 else end
            yield number, self.byte + start, self.raw[start:end]
            number, start = number + 1, end + len(newline)


def read_blocks(file: str, *, encoding: str | None, max_line_bytes: int, block_bytes: int) -> Iterator[Block]:
    """Read one source as blocks of whole lines.

    Args:
        file: a path, any URL that `fsspec` opens, or `-` for standard input; gzip, bzip2, xz and zstd are recognized.
        encoding: of a file without a byte-order mark; None is UTF-8. It is never guessed.
        max_line_bytes: a line longer than this comes as a block of its own, cut.
        block_bytes: how many bytes to read at a time.

    Raises:
        SourceError: when the file cannot be opened or read, or the encoding is not known.
    """
    try:
        with _open(file) as stream:
            yield from _split(_decompressed(stream), file, encoding, max_line_bytes, block_bytes)
    except FileNotFoundError:
        raise SourceError(f"{file}: there is no such file; check the name") from None
    except IsADirectoryError:
        raise SourceError(f"{file}: is a folder; name the files in it") from None
    except (OSError, EOFError, ValueError, ImportError, zlib.error, lzma.LZMAError) as error:
        raise SourceError(f"{file}: cannot be read: {error}") from error


def _open(file: str) -> AbstractContextManager[IO[bytes]]:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    if os.path.exists(file):  # a name as it stands, even one that looks like a URL or a pattern
        return open(file, "rb")
    opened: AbstractContextManager[IO[bytes]] = fsspec.open(file, "rb")
    return opened


def _decompressed(stream: IO[bytes]) -> IO[bytes]:
    """Decompress by what the file starts with: its name may be a cache's, or there may be none."""
    if isinstance(stream, io.BufferedReader):
        head = stream.peek(_MAGIC_BYTES)
    else:
        head = stream.read(_MAGIC_BYTES)
        stream.seek(0)
    for magic, decompress in _DECOMPRESS.items():
        if head.startswith(magic):
            return decompress(stream)
    return stream


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    decompressed: IO[bytes] = pa.CompressedInputStream(pa.PythonFile(stream), "zstd")
    return decompressed


_DECOMPRESS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
}
_MAGIC_BYTES = max(map(len, _DECOMPRESS))


def _encoding(head: bytes, encoding: str | None) -> tuple[str, int]:
    """Name the encoding, and how many bytes the byte-order mark takes."""
    try:
        name = codecs.lookup(encoding or "utf-8").name
    except LookupError:
        raise SourceError(f"no encoding is called {encoding!r}; try one like cp932, euc_jp or utf-16") from None
    for bom, unicode_name in _BOMS if name.startswith("utf") else ():
        if head.startswith(bom):
            return unicode_name, len(bom)
    without_bom = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
    return without_bom.get(name, name), 0


def _split(
    stream: IO[bytes], file: str, encoding: str | None, max_line_bytes: int, block_bytes: int
) -> Iterator[Block]:
    chunk = stream.read(block_bytes)
    name, byte = _encoding(chunk, encoding)
    newline = "\n".encode(name)
    line, rest = 1, b""
    chunk = chunk[byte:]
    while chunk:
        rest += chunk
        end = _rfind(rest, newline) + len(newline)
        if end > 0:
            raw, rest = rest[:end], rest[end:]
            yield Block(file, line, byte, raw, name, len(raw))
            line, byte = line + _count(raw, newline), byte + len(raw)
        if len(rest) > max_line_bytes:
            size, head, rest = _skip_line(stream, rest, newline, block_bytes)
            yield Block(file, line, byte, head, name, size)
            line, byte = line + 1, byte + size
        chunk = stream.read(block_bytes)
    if rest:
        yield Block(file, line, byte, rest, name, len(rest))


def _skip_line(stream: IO[bytes], head: bytes, newline: bytes, block_bytes: int) -> tuple[int, bytes, bytes]:
    """Read to the end of a line that is too long: its size in bytes with its line end, its head, what follows it."""
    size, chunk, head = 0, head, head[:HEAD_BYTES]
    while True:
        # Chunks of wide encodings may be cut inside a character; carry the odd bytes so that positions stay aligned.
        end = _find(chunk, newline, 0)
        if end >= 0:
            return size + end + len(newline), head, chunk[end + len(newline) :]
        aligned = len(chunk) - len(chunk) % len(newline)
        size, left = size + aligned, chunk[aligned:]
        more = stream.read(block_bytes)
        if not more:
            return size + len(left), head, b""
        chunk = left + more


def _find(raw: bytes, newline: bytes, start: int) -> int:
    """Find a newline at a character's boundary: in UTF-16 its two bytes also stand across two characters."""
    at = raw.find(newline, start)
    while at >= 0 and (at - start) % len(newline):
        at = raw.find(newline, at + 1)
    return at


def _rfind(raw: bytes, newline: bytes) -> int:
    at = raw.rfind(newline)
    while at >= 0 and at % len(newline):
        at = raw.rfind(newline, 0, at + len(newline) - 1)
    return at if at >= 0 else -len(newline)


def _count(raw: bytes, newline: bytes) -> int:
    if len(newline) == 1:
        return raw.count(newline)
    count, at = 0, _find(raw, newline, 0)
    while at >= 0:
        count, at = count + 1, _find(raw, newline, at + len(newline))
    return count
