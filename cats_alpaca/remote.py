"""A folder behind a URL: made here first, then sent file by file, each whole or not at all, the card last."""

from __future__ import annotations

import functools
import inspect
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar

from .errors import ReleaseError
from .writing import whole_file

_P = ParamSpec("_P")
_T = TypeVar("_T")
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
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary, PurePosixPath(url).name)  # a release without a title has its folder's name
                folder.mkdir()
                given.arguments[name] = folder
                if name == "out":
                    _fetch_card(url, folder)
                result = make(*given.args, **given.kwargs)
                upload(folder, url)
            return result

        return anywhere

    return add


def refuse_foreign(url: str, options: dict[str, Any]) -> None:
    """Do for a URL what a build does for a folder: overwrite no card that is not ours.

    Raises:
        ReleaseError: when there is one, or when the build is to be resumed or runs on a cluster.
    """
    from .card import MARK

    if options.get("resume"):
        raise ReleaseError(f"{url}: only a build into a folder of this machine can be resumed; leave --resume out")
    if options.get("engine") == "ray":
        raise ReleaseError(f"{url}: a build on Ray needs a folder that all nodes share; name one as --out")
    if "out" not in options or options.get("force"):
        return
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    if files.exists(readme := f"{root.rstrip('/')}/README.md") and MARK.encode() not in files.cat_file(readme):
        raise ReleaseError(
            f"{url}: README.md was not made by this command; name another place, or overwrite it with --force"
        )


def _fetch_card(url: str, folder: Path) -> None:
    """Put the card that is there where the build looks for it: what people wrote into it stays."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    if files.exists(readme := f"{root.rstrip('/')}/README.md"):
        (folder / "README.md").write_bytes(files.cat_file(readme))


def upload(folder: Path, url: str) -> None:
    """Send a folder's files, the card last; take back what is new when one fails, remove stale shards at the end.

    Raises:
        OSError: when something cannot be written there.
    """
    import fsspec

    files, root = fsspec.core.url_to_fs(url)
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    there = {path[len(root) :].lstrip("/") for path in files.find(root)}
    sent: list[str] = []
    try:
        for name in sorted(names, key=lambda name: (name == "README.md", name)):
            if name == "README.md":
                _remove(files, root, filter(_OURS.fullmatch, there - set(names)))
            with whole_file(f"{url.rstrip('/')}/{name}") as stream, (folder / name).open("rb") as file:
                sent.append(name)
                shutil.copyfileobj(file, stream, 1 << 20)
    except BaseException:
        _remove(files, root, set(sent) - there)
        raise
    _remove(files, root, filter(_OURS.fullmatch, there - set(names)))


def _remove(files: Any, root: str, names: Iterable[str]) -> None:
    for name in names:
        files.rm_file(f"{root.rstrip('/')}/{name}")
