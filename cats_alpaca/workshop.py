"""Where a release is made: a hidden folder in its own, kept from other builds, and emptied when all went well."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .card import pictures, shards
from .errors import ReleaseError, StoriesError
from .formats import SCHEMAS
from .manifest import MANIFEST
from .remote import is_there, is_url, remove_all

UNFINISHED = ".build-unfinished"
"""The hidden folder in a release folder where a build writes; what a stopped one finished stays there."""


def kept_by(out: str) -> str:
    """Give the place where a release folder, or its URL, keeps what a stopped build finished; empty where it has none.

    >>> kept_by("nowhere")
    ''
    """
    place = f"{out.rstrip('/')}/{UNFINISHED}" if is_url(out) else os.path.join(out, UNFINISHED)
    return place if (is_there(place) if is_url(out) else os.path.exists(place)) else ""


@contextmanager
def workshop(out: Path, resume: bool) -> Iterator[tuple[Path, Path]]:
    """Give two folders inside the release folder, for what will be installed and for shards; remove them afterwards.

    A release folder that stayed empty goes, too. The shards stay when a build breaks off that has finished some, and
    the next build says whether it goes on with them.
    """
    was_there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    folder = out / UNFINISHED
    with _locked(out):
        keep = False
        try:
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder / "release", ignore_errors=True)
            for part in ("release", "shards"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            yield folder / "release", folder / "shards"
        except (StoriesError, ReleaseError):
            raise
        except BaseException:
            keep = (folder / "shards" / MANIFEST).exists()
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            if not was_there and not any(out.iterdir()):
                out.rmdir()


@contextmanager
def workshop_behind(url: str, resume: bool) -> Iterator[None]:
    """Do for the shards behind a URL, if there is one, what `workshop` does for those in a folder."""
    if not url:
        yield
        return
    if not resume:
        remove_all(url)
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # what went wrong first is what counts
            if isinstance(error, (StoriesError, ReleaseError)) or not is_there(f"{url}/{MANIFEST}"):
                remove_all(url)
        raise
    remove_all(url)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other builds out of a release folder; the system lets go of it when the process ends, however it does."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ReleaseError(f"{out} is being built by another process; wait for it, or name another --out") from None
    finally:
        os.close(folder)


def install(made: Path, out: Path) -> None:
    """Move the finished files in: what is stale goes first, the card that describes all comes last."""
    new = {file.relative_to(made) for file in made.rglob("*") if file.is_file()}
    for picture in pictures.NAMES:
        if Path(picture) not in new and pictures.shown(out / picture):
            (out / picture).unlink()
    for config in SCHEMAS:
        for split in ("train", "test"):
            for file in shards(out, config, split):
                if file.relative_to(out) not in new:
                    file.unlink()
    for name in sorted(new, key=lambda name: (name == Path("README.md"), name)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(out / name)
