"""Where stories come from: a path becomes line-aligned blocks of bytes that know their place in the file."""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, NamedTuple, cast

import numpy as np
import pyarrow as pa

from .errors import SourceError

BLOCK_BYTES = 4 << 20
"""How much of a source is parsed at a time: big enough to be fast, small enough to have several in flight."""

_FIRST_BYTES = 256 << 10

HEAD_BYTES = 1024
"""How much is kept of a line that is too long."""

_UNREADABLE = (OSError, EOFError, ValueError, ImportError, zlib.error, lzma.LZMAError)

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
        newlines: where in `raw` the lines end.
        size: how many bytes it takes in the file; more than `len(raw)` only for a single line that is too long, of
            which `raw` then holds the beginning (and its line end does not count).
    """

    file: str
    line: int
    byte: int
    raw: bytes
    encoding: str
    newlines: np.ndarray
    size: int

    @property
    def cut(self) -> bool:
        """Say whether this is a line that is too long, of which only the head is here."""
        return self.size > len(self.raw)

    @property
    def next_line(self) -> int:
        """The number of the line after these."""
        return self.line + len(self.newlines) + self.cut

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        r"""Give every line as its number, its offset and its bytes without the `\n`.

        >>> raw = "ねこ\nmiau\n".encode("utf-16-le")
        >>> block = Block("cats.jsonl", 7, 100, raw, "utf-16-le", find_newlines(raw, "utf-16-le"), len(raw))
        >>> [(line, byte, raw.decode("utf-16-le")) for line, byte, raw in block.lines()]
        [(7, 100, 'ねこ'), (8, 106, 'miau')]
        """
        width = len("\n".encode(self.encoding))
        start = 0
        for number, end in enumerate([*self.newlines.tolist(), len(self.raw)], self.line):
            if start < len(self.raw):
                yield number, self.byte + start, self.raw[start:end]
            start = end + width


def find_files(sources: str | Iterable[str]) -> list[str]:
    """Resolve patterns to the files that match, in order of their names; leave all else as it is.

    >>> find_files(["-", "https://example.org/cats.jsonl?day=1"])
    ['-', 'https://example.org/cats.jsonl?day=1']

    Raises:
        SourceError: when nothing matches a pattern.
    """
    found: list[str] = []
    for source in [sources] if isinstance(sources, str) else sources:
        try:
            found += _matches(str(source))
        except (OSError, ValueError, ImportError) as error:
            raise SourceError(f"{source}: cannot be read: {error}") from error
    return found


def _matches(source: str) -> list[str]:
    url = "://" in source
    # In a web address "?" starts the query, and no server lists its files.
    if not glob.has_magic(source) or os.path.exists(source) or (url and source.startswith("http")):
        return [source]
    if url:
        import fsspec

        files, path = fsspec.core.url_to_fs(source)
        found = sorted(map(files.unstrip_protocol, files.glob(path)))
    else:
        found = sorted(glob.glob(source, recursive=True))
    if not found:
        raise SourceError(f"{source}: no file matches this pattern; check the name")
    return found


def count_bytes(files: Iterable[str]) -> int:
    """Sum the sizes of the files, as far as they are known without reading them."""
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))


def read_blocks(
    file: str,
    *,
    encoding: str | None,
    max_line_bytes: int,
    block_bytes: int,
    progress: Callable[[int], object] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Block]:
    """Read one source, or a range of it, as blocks of whole lines.

    Args:
        file: a path, any URL that `fsspec` opens, or `-` for standard input; gzip, bzip2, xz and zstd are recognized.
        encoding: of a file without a byte-order mark; None is UTF-8. It is never guessed.
        max_line_bytes: a line longer than this comes as a block of its own, cut.
        block_bytes: how many bytes to read at a time.
        progress: is called with the number of bytes that were read since the last call, before decompression.
        start: the offset of the line to begin with, in a file that `Look.splittable` says can be read in ranges; it is
            line 1 then.
        stop: the offset of the first line to leave out; None is the file's end.

    Raises:
        SourceError: when the file cannot be opened or read, or the encoding is not known.
    """
    with _explained(file), _open(file) as stream:
        content = _decompressed(stream) if start == 0 else stream
        if start:
            content.seek(start)
        done = start
        for block in _split(_limited(content, start, stop), file, encoding, max_line_bytes, block_bytes, start):
            yield block
            if progress and stream.seekable():
                progress(stream.tell() - done)
                done = stream.tell()


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Turn what goes wrong with a source into a sentence that names it."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError:
        raise SourceError(f"{file}: there is no such file; check the name") from None
    except IsADirectoryError:
        raise SourceError(f"{file}: is a folder; name the files in it") from None
    except Exception as error:
        # Behind a URL stands somebody's file system, with exceptions of its own.
        if "://" not in file and not isinstance(error, _UNREADABLE):
            raise
        raise SourceError(f"{file}: cannot be read: {error or type(error).__name__}") from error


class Look(NamedTuple):
    """What a source is, before it is read.

    Attributes:
        size: its bytes as stored; None where nobody knows, as of standard input.
        splittable: whether it can be read in ranges: no compression, a size, and newlines of one byte.
        compressed: whether it is compressed.
    """

    size: int | None
    splittable: bool
    compressed: bool


def look_at(file: str, encoding: str | None) -> Look:
    """Look at a source's first bytes and its size; standard input and pipes stay untouched.

    Raises:
        SourceError: when the file cannot be opened or read, or the encoding is not known.
    """
    if file == "-" or (os.path.exists(file) and not os.path.isfile(file) and not os.path.isdir(file)):
        return Look(None, False, False)
    with _explained(file), _open(file) as stream:
        head = stream.read(_MAGIC_BYTES)
        name, _ = _encoding(head, encoding)
        compressed = any(head.startswith(magic) for magic in _DECOMPRESS)
        size = stream.seek(0, io.SEEK_END) if stream.seekable() else None
        return Look(size, size is not None and not compressed and len("\n".encode(name)) == 1, compressed)


def find_line_starts(file: str, offsets: Iterable[int]) -> list[int]:
    """Give, for each offset, that of the first line that starts there or later; the file's size where none does."""
    starts = []
    with _explained(file), _open(file) as stream:
        for offset in offsets:
            at = stream.seek(max(offset - 1, 0))
            while offset and (chunk := stream.read(_FIRST_BYTES)):
                newline = chunk.find(b"\n")
                at += newline + 1 if newline >= 0 else len(chunk)
                if newline >= 0:
                    break
            starts.append(at)
    return starts


def _open(file: str) -> AbstractContextManager[IO[bytes]]:
    if file == "-":
        if sys.stdin is None:
            raise SourceError("-: standard input is closed")
        return nullcontext(sys.stdin.buffer)
    if os.path.exists(file):  # a name as it stands, even one that looks like a URL or a pattern
        return open(file, "rb")
    import fsspec  # a tenth of a second, which reading a local file need not wait

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


class _Limited:
    """A stream that ends early: where a range stops."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int) -> bytes:
        chunk = self.stream.read(min(size, self.left))
        self.left -= len(chunk)
        return chunk


def _limited(stream: IO[bytes], start: int, stop: int | None) -> IO[bytes]:
    return stream if stop is None else cast(IO[bytes], _Limited(stream, stop - start))


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
        "\n".encode(name)  # some codecs are not for texts
    except LookupError:
        raise SourceError(f"no encoding is called {encoding!r}; try one like cp932, euc_jp or utf-16") from None
    for bom, unicode_name in _BOMS if name.startswith("utf") else ():
        if head.startswith(bom):
            return unicode_name, len(bom)
    without_bom = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
    return without_bom.get(name, name), 0


def _split(
    stream: IO[bytes], file: str, encoding: str | None, max_line_bytes: int, block_bytes: int, start: int
) -> Iterator[Block]:
    chunk = stream.read(max(min(block_bytes, _FIRST_BYTES), 4))  # a byte-order mark at least
    # In the middle of a file, there is no byte-order mark; what looks like one is a character.
    name, mark = _encoding(b"" if start else chunk, encoding)
    width = len("\n".encode(name))
    line, byte, rest = 1, start + mark, b""
    chunk = chunk[mark:] or stream.read(block_bytes)
    while chunk:
        if width > 1:  # a character may be cut between two chunks
            rest, chunk = b"", rest + chunk
        newlines = find_newlines(chunk, name)
        if len(newlines):
            end = int(newlines[-1]) + width
            raw = b"".join((rest, memoryview(chunk)[:end]))
            yield Block(file, line, byte, raw, name, newlines + len(rest), len(raw))
            line, byte, rest = line + len(newlines), byte + len(raw), chunk[end:]
        else:
            rest += chunk
        chunk = b""
        if len(rest) - len(rest) % width > max_line_bytes:
            size, head, chunk = _skip_line(stream, rest, name, block_bytes)
            yield Block(file, line, byte, head, name, newlines[:0], size)
            line, byte, rest = line + 1, byte + size + width, b""
        # Small blocks first, so that whoever waits for them can begin.
        chunk = chunk or stream.read(min(block_bytes, byte - start + _FIRST_BYTES))
    if rest:
        yield Block(file, line, byte, rest, name, find_newlines(rest, name), len(rest))


def find_newlines(raw: bytes, encoding: str) -> np.ndarray:
    r"""Find where lines end, by characters: in UTF-16 a newline's two bytes also stand across two of them.

    >>> find_newlines("ねこ\n\nਊ".encode("utf-16-be"), "utf-16-be").tolist()
    [4, 6]
    """
    newline = "\n".encode(encoding)
    unit = np.dtype(f"u{len(newline)}")
    units = np.frombuffer(raw, unit, len(raw) // len(newline))
    return np.flatnonzero(units == np.frombuffer(newline, unit)[0]) * len(newline)


def _skip_line(stream: IO[bytes], head: bytes, encoding: str, block_bytes: int) -> tuple[int, bytes, bytes]:
    """Read to the end of a line that is too long: its size without that, its head, what follows it."""
    width = len("\n".encode(encoding))
    size, chunk, head = 0, head, b""
    while not len(newlines := find_newlines(chunk, encoding)):
        whole = len(chunk) - len(chunk) % width
        more = stream.read(block_bytes)
        if not more:
            return size + len(chunk), (head + chunk)[:HEAD_BYTES], b""
        head = (head + chunk[:whole])[:HEAD_BYTES]
        size, chunk = size + whole, chunk[whole:] + more
    end = int(newlines[0])
    return size + end, (head + chunk[:end])[:HEAD_BYTES], chunk[end + width :]
