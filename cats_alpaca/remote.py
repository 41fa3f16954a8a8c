"""A folder behind a URL: made here first, then sent file by file, each whole or not at all, the card last."""

from __future__ import annotations

import functools
import inspect
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar

from .errors import ReleaseError
from .writing import whole_file

_P = ParamSpec("_P")
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


def to_any_folder(name: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let a function whose argument `name` is a folder take a URL, too; it works in a temporary folder then."""

    def add(make: Callable[_P, _T]) -> Callable[_P, _T]:
        signature = inspect.signature(make)

        @functools.wraps(make)
        def anywhere(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            given = signature.bind(*args, **kwargs)
            if not is_url(url := str(given.arguments[name])):
                return make(*args, **kwargs)
            refuse_foreign(url, given.arguments)
            if given.arguments.get("engine") == "ray":
                return make(*args, **kwargs)  # its shards come from many machines
            with beside(url) as folder:
                given.arguments[name] = folder
                if name == "out":
                    fetch_card(url, folder)
                result = make(*given.args, **given.kwargs)
                upload(folder, url)
            return result

        return anywhere

    return add


@contextmanager
def beside(url: str) -> Iterator[Path]:
    """Give an empty folder of this machine that has a URL's name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, PurePosixPath(url).name)  # a release without a title has its folder's name
        folder.mkdir()
        yield folder


def remove_all(url: str) -> None:
    """Remove all that is under a URL."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    if files.exists(root):
        files.rm(root, recursive=True)


def refuse_foreign(url: str, options: dict[str, Any]) -> None:
    """Do for a URL what a build does for a folder: overwrite no card that is not ours.

    Raises:
        ReleaseError: when there is one, when the build is to be resumed, or when the URL is the Hub's.
    """
    from .card import MARK

    if url.startswith("hf://"):
        raise ReleaseError(
            f"{url}: at the Hub, every file would be a commit of its own; write into a folder of this machine, "
            "and publish that in one commit: cats-alpaca push OWNER/NAME --from FOLDER"
        )
    if options.get("resume"):
        raise ReleaseError(f"{url}: only a build into a folder of this machine can be resumed; leave --resume out")
    if "out" not in options or options.get("force"):
        return
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    if files.exists(readme := f"{root.rstrip('/')}/README.md") and MARK.encode() not in files.cat_file(readme):
        raise ReleaseError(
            f"{url}: README.md was not made by this command; name another place, or overwrite it with --force"
        )


def fetch_card(url: str, folder: Path) -> None:
    """Put the card that is there where the build looks for it: what people wrote into it stays."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    if files.exists(readme := f"{root.rstrip('/')}/README.md"):
        (folder / "README.md").write_bytes(files.cat_file(readme))


def upload(folder: Path, url: str, there_already: Mapping[str, str] | None = None) -> None:
    """Send a folder's files, the card last; take back what is new when one fails, remove stale shards at the end.

    Args:
        folder: what to send.
        url: where to.
        there_already: the URLs of files that are at their place but for their name, by this name.

    Raises:
        OSError: when something cannot be written there.
    """
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    moved = there_already or {}
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    there = {path[len(root) :].lstrip("/") for path in files.find(root)}
    new = names | moved.keys()
    try:
        each_at(url, lambda name: _move(files, moved[name], f"{root.rstrip('/')}/{name}"), moved)
        for name in sorted(names - {"README.md"}):
            send(folder / name, f"{url.rstrip('/')}/{name}")
        _remove(files, root, filter(_OURS.fullmatch, there - new))
        if "README.md" in names:
            send(folder / "README.md", f"{url.rstrip('/')}/README.md")
    except BaseException:
        _remove(files, root, new - there)
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
    import fsspec

    return bool(fsspec.core.url_to_fs(url)[0].async_impl)


def send(file: Path, url: str) -> None:
    """Copy a file of this machine to a URL, whole or not at all."""
    import fsspec

    files, path = fsspec.core.url_to_fs(url)
    files.makedirs(path.rpartition("/")[0], exist_ok=True)
    with whole_file(url) as stream, file.open("rb") as source:
        shutil.copyfileobj(source, stream, 1 << 20)


def _move(files: Any, source: str, target: str) -> None:
    files.makedirs(target.rpartition("/")[0], exist_ok=True)
    files.mv(files._strip_protocol(source), target)


def _remove(files: Any, root: str, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):  # the answer that was lost may have been a no
            files.rm_file(f"{root.rstrip('/')}/{name}")
