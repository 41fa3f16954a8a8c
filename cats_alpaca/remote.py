"""A folder behind a URL: its files are sent each whole or not at all, and get their names at the end, the card last."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .errors import ReleaseError
from .writing import file_system, whole_file

_T = TypeVar("_T")
_R = TypeVar("_R")
_AT_ONCE = 16
_OURS = re.compile(r"(?:data/[^/]+/)?(?:train|test)-\d{5,}-of-\d{5,}\.parquet")


def is_url(place: object) -> bool:
    """Say whether a place is no path.

    >>> is_url("s3://cats/release"), is_url("release")
    (True, False)
    """
    return "://" in str(place)


@contextmanager
def beside(url: str) -> Iterator[Path]:
    """Give an empty folder of this machine that has a URL's name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, PurePosixPath(url).name)  # a release without a title has its folder's name
        folder.mkdir()
        yield folder


def is_there(url: str) -> bool:
    """Say whether there is something."""
    with file_system(url) as (files, path):
        files.invalidate_cache()
        return bool(files.exists(path))


def remove_all(url: str) -> None:
    """Remove all that is under a URL."""
    with file_system(url) as (files, root):
        if files.exists(root):
            files.rm(root, recursive=True)


def refuse_place(url: str) -> None:
    """Refuse to write file by file where that makes a commit of each.

    Raises:
        ReleaseError: when the URL is the Hub's.
    """
    if url.startswith("hf://"):
        raise ReleaseError(
            f"{url}: at the Hub, every file would be a commit of its own; write into a folder of this machine, "
            "and publish that in one commit: cats-alpaca push OWNER/NAME --from FOLDER"
        )


def refuse_foreign(url: str) -> None:
    """Do for a URL what a build does for a folder: overwrite no card that is not ours.

    Raises:
        ReleaseError: when there is one.
    """
    from .card import MARK

    card = _card_at(url)
    if card is not None and MARK.encode() not in card:
        raise ReleaseError(
            f"{url}: README.md was not made by this command; name another place, or overwrite it with --force"
        )


def fetch_card(url: str, folder: Path) -> None:
    """Put the card that is there where the build looks for it: what people wrote into it stays."""
    card = _card_at(url)
    if card is not None:
        (folder / "README.md").write_bytes(card)


def _card_at(url: str) -> bytes | None:
    with file_system(url) as (files, root):
        readme = f"{root.rstrip('/')}/README.md"
        card: bytes | None = files.cat_file(readme) if files.exists(readme) else None
        return card


def upload(url: str, here: Mapping[str, Path], there: Mapping[str, str]) -> None:
    """Put files into a folder behind a URL, the card last; take back what is new when one fails, remove stale shards.

    Args:
        url: the folder's.
        here: files of this machine, by their names there.
        there: the URLs of files that are there but for their names, by these.

    Raises:
        OSError: when something cannot be written there.
    """
    with file_system(url) as (files, root):
        files.invalidate_cache()
        new = here.keys() | there.keys()
        old = {path[len(root) :].lstrip("/") for path in files.find(root)}
        try:
            each_at(url, lambda name: _move(files, there[name], f"{root.rstrip('/')}/{name}"), there)
            for name in sorted(here.keys() - {"README.md"}):
                send(here[name], f"{url.rstrip('/')}/{name}")
            _remove(files, root, filter(_OURS.fullmatch, old - new))
            if "README.md" in here:
                send(here["README.md"], f"{url.rstrip('/')}/README.md")
        except BaseException:
            with suppress(Exception):  # what went wrong first is what counts
                _remove(files, root, new - old)
            raise


def each_at(place: object, do: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Do something with each item at a place, several at a time where that is a server, which takes its time to answer.

    >>> each_at("release", abs, [1, -2])
    [1, 2]
    """
    pool = ThreadPoolExecutor(_AT_ONCE if is_url(place) and _takes_many(str(place)) else 1)
    try:
        return list(pool.map(do, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _takes_many(url: str) -> bool:
    with file_system(url) as (files, _):
        return bool(files.async_impl)


def send(file: Path, url: str) -> None:
    """Copy a file of this machine to a URL, whole or not at all."""
    with file_system(url) as (files, path):
        make_folder(files, path.rpartition("/")[0])
    with whole_file(url) as stream, file.open("rb") as source:
        shutil.copyfileobj(source, stream, 1 << 20)


def make_folder(files: Any, path: str) -> None:
    """Make a folder where a file system has such; what has none would make a bucket that nobody asked for."""
    if not files.async_impl:
        files.makedirs(path, exist_ok=True)


def _move(files: Any, source: str, target: str) -> None:
    make_folder(files, target.rpartition("/")[0])
    files.mv(files._strip_protocol(source), target)


def _remove(files: Any, root: str, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):  # the answer that was lost may have been a no
            files.rm_file(f"{root.rstrip('/')}/{name}")
