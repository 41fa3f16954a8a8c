"""Files that appear whole or not at all, and Parquet in row groups of bounded size."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_BYTES = 8 << 20

_PART_BYTES = 32 << 20  # of an upload: an object has at most ten thousand parts


@contextmanager
def file_system(url: str) -> Iterator[tuple[Any, str]]:
    """Give the file system behind a URL, and the path there, for as long as it is used.

    >>> with file_system("file:///cats") as (files, path):
    ...     files.protocol, path
    (('file', 'local'), '/cats')

    Raises:
        OSError: instead of what somebody's file system raises of its own.
    """
    import fsspec

    try:
        yield fsspec.core.url_to_fs(url)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("builtins", "pyarrow", __package__):
            raise
        raise OSError(errno.EIO, f"it cannot be used: {error or type(error).__name__}", url) from error


@contextmanager
def _whole_object(url: str) -> Iterator[IO[bytes]]:
    """Write behind a URL: what is sent gets its name at the end, or is thrown away."""
    with file_system(url) as (files, path):
        stream = files.open(path, "wb", block_size=_PART_BYTES, autocommit=False)
        try:
            yield stream
            stream.close()
            stream.commit()
        except BaseException:
            with suppress(Exception):  # what went wrong first is what counts
                stream.discard()
            with suppress(AttributeError):  # a file on this machine says by itself whether it is closed
                stream.closed = True  # or it would be sent when it is collected
            raise


@contextmanager
def whole_file(path: str | Path) -> Iterator[IO[bytes]]:
    r"""Open a file for writing that takes its name only when all went well; until then an old one stays as it was.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "cats.txt")
    >>> with whole_file(file) as stream:
    ...     _ = stream.write(b"meow")
    ...     file.exists()
    False
    >>> file.read_bytes()
    b'meow'
    """
    if "://" in str(path):
        with _whole_object(str(path)) as stream:
            yield stream
        return
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, "wb") as stream:  # a device or a pipe, which nothing may replace
            yield stream
        return
    path = Path(os.path.realpath(path))  # a link keeps pointing where it points
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "This is a folder; name a file", str(path))
    beside = path.with_name(f".{os.urandom(6).hex()}.part")
    nameless = _open_nameless(path.parent)
    try:
        with nameless or _open_beside(beside, path) as stream:
            yield stream
            stream.flush()
            if path.exists():
                os.fchmod(stream.fileno(), stat.S_IMODE(path.stat().st_mode))
            if nameless:
                _give_name(nameless, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _open_beside(beside: Path, path: Path) -> IO[bytes]:
    try:
        return open(beside, "xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # the name that the user gave


def _open_nameless(folder: Path) -> IO[bytes] | None:
    """Open a file without a name, where the system can: it is gone even when the process is killed."""
    if sys.platform != "linux":
        return None
    try:
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "wb")
    except OSError:  # a file system that cannot; what else is wrong with the folder, opening by name will tell
        return None


def _give_name(stream: IO[bytes], path: Path) -> None:
    files = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        # Python follows the link, which is where the file is, only when the source's folder is given.
        os.link(str(stream.fileno()), path, src_dir_fd=files, follow_symlinks=True)
    finally:
        os.close(files)


class ParquetFile:
    """One Parquet file that is written batch by batch, in a `with` statement.

    Args:
        where: a path or a stream.
        schema: of the rows.
        by_content: cut pages by content, so that a revision of the file uploads only what changed; it takes a sixth
            more time.

    Attributes:
        nbytes: how many bytes of rows were given to it, before encoding and compression.
    """

    def __init__(self, where: str | Path | IO[bytes], schema: pa.Schema, *, by_content: bool) -> None:
        self.nbytes = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._writer = pq.ParquetWriter(
            where,
            schema,
            compression="zstd",
            use_dictionary=False,  # texts hardly ever repeat
            use_content_defined_chunking=by_content,
            store_schema=False,  # nothing that another version might not understand
        )

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, *error: object) -> None:
        # Closed in any case, while the stream is open: else pyarrow tries it when the writer is collected, and fails.
        if not any(error):
            self.flush()
        self._writer.close()

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows; a row group is written when enough of them wait."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        self.nbytes += rows.nbytes
        # The first row groups are smaller, so that compressing begins while the first blocks are being read.
        if self._waiting_bytes >= min(ROW_GROUP_BYTES, max(self.nbytes // 2, 1 << 20)):
            self.flush()

    def flush(self) -> None:
        """Write what waits as a row group."""
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        self._writer.write_table(table, row_group_size=table.num_rows)
