"""Portions become shards on the machines of a Ray cluster, by the very function that makes them on one machine.

`check` has its blocks examined there, too.

Ray Data hands the portions out, runs those again whose node died, and gives the outcomes back in order. Every try
writes into a folder of its own, which its outcome names: of a try that died, or went on when it was given up already,
nothing is ever looked at.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import secrets
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from .errors import ReleaseError
from .manifest import Entry, Manifest, entry_of, kept, outcome_of
from .manifest import code as own_code
from .ranges import Portion
from .remote import make_folder
from .sending import fetched, make_and_send
from .sharding import Outcome, StoppedError, Work, make_portion
from .sources import Block
from .stories import Refuse
from .writing import file_system, whole_file

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_TRIES = 20
"""Nodes may come and go, but a portion that takes its worker down with it must not do so for ever."""


@dataclass(frozen=True)
class _Job:
    """What every task needs to know.

    Attributes:
        portions: all of them; a task has the number of its own.
        work: how to make them.
        folder: where the files go; all nodes see it, unless there is a URL.
        url: where the files go instead; empty where there is none.
        here: the folder from which relative names of sources start.
        cores: how many threads of one task may compute at the same time.
        known: what an earlier build finished, by the portion's number.
        code: what decides the bytes; see `Manifest`.
        refuse: says which stories are left out.
    """

    portions: Sequence[Portion]
    work: Work
    folder: Path
    url: str
    here: str
    cores: int
    known: dict[int, Entry]
    code: dict[str, str]
    refuse: Refuse | None


def make_portions(
    portions: Sequence[Portion],
    work: Work,
    folder: Path,
    *,
    url: str = "",
    manifest: Manifest,
    address: str | None = None,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
    refuse: Refuse | None = None,
) -> Generator[Outcome, None, None]:
    """Make all portions on a Ray cluster; give the outcomes in order, as `sharding.make_portions` does.

    Args:
        portions: what to make.
        work: how to make it.
        folder: where the files go; all nodes see it under this name, unless there is a URL.
        url: where the shards go instead, to be named in the outcomes; the folder gets the bad lines.
        manifest: knows what is finished, and is told what is.
        address: the cluster's; None is what the variable `RAY_ADDRESS` says, or a Ray of its own on this machine.
        threads: how many cores one task takes; None is as many as there are for each portion.
        progress: is called with the number of bytes that a portion took, when it is made.
        refuse: says which stories are left out, as `read_stories` takes it.

    Raises:
        SourceError: when a source cannot be read.
        OSError: when a shard cannot be written.
        ReleaseError: when Ray is not installed or the cluster cannot be used.
    """
    _refuse_standard_input(portions)
    folder = folder.resolve()
    known = {number: entry for number, one in enumerate(portions) if (entry := manifest.entry(number, one))}
    _sweep(url or str(folder), known)
    with _connected(address) as ray:
        cores = threads or cores_each(_cores_of(ray.nodes()), len(portions), len(work.configs))
        job = _Job(portions, work, folder, url, os.getcwd(), cores, known, manifest.head["code"], refuse)
        for row in _run(ray, job):
            if row["failure"]:
                raise pickle.loads(row["failure"])  # noqa: S301 - our own task wrote it
            entry = json.loads(row["entry"])
            manifest.note(int(row["id"]), portions[row["id"]], entry)
            if progress:
                progress(row["read"])
            yield fetched(outcome_of(entry), folder)


def call_all(
    call: Callable[[_Item], _Result], items: Iterator[_Item], *, part: str, address: str | None = None
) -> Generator[_Result, None, None]:
    """Call a function with each item on a Ray cluster, some ahead; give the results in order.

    Args:
        call: a function that every node can import, or a `partial` of one.
        items: what is sent to the nodes.
        part: the subpackage that decides what comes out; all nodes must have the same.
        address: the cluster's, as `make_portions` takes it.

    Raises:
        ReleaseError: when Ray is not installed or the cluster cannot be used.
    """
    with _connected(address) as ray:
        task = ray.remote(num_cpus=1, max_retries=_TRIES)(_call)
        begin = partial(task.remote, call, part=part, code=own_code(part))
        pending = [begin(item) for item in islice(items, 2 * sum(_cores_of(ray.nodes())) + 1)]
        while pending:
            try:
                result = ray.get(pending.pop(0))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise ReleaseError(f"the Ray cluster cannot go on: {_first_line(error)}") from error
            pending += [begin(item) for item in islice(items, 1)]
            yield result


def _call(call: Callable[[_Item], _Result], item: _Item, part: str, code: dict[str, str]) -> _Result:
    _refuse_other_code(code, part)
    return call(item)


def _refuse_standard_input(portions: Sequence[Portion]) -> None:
    if any(one.file == "-" for portion in portions for one in portion.ranges):
        raise ReleaseError("-: other machines cannot read this one's standard input; put it into a file")


def _sweep(place: str, known: dict[int, Entry]) -> None:
    """Remove what stopped tries left, and keep what an earlier build noted as finished."""
    noted = {part for entry in known.values() for name in entry["files"] for part in name.split("/") if ".try-" in part}
    with file_system(place) as (files, root):
        files.invalidate_cache()
        for one in files.ls(root, detail=False) if files.exists(root) else ():
            name = one.rpartition("/")[2]
            if ".try-" in name and name not in noted:
                with suppress(OSError):  # a task that nobody waits for may still be writing there
                    files.rm(one, recursive=True)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Give Ray, connected to a cluster; leave it connected when it was so before."""
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    alone = {} if address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ReleaseError(
            f"{where}: no Ray cluster can be used ({error}); start one with `ray start --head`, or mend --ray-address"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()  # and with it, what still runs of ours


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a build tells nobody that it runs
    try:
        import ray
        import ray.data
    except ImportError:
        raise ReleaseError("to build on a cluster, install Ray: pip install 'cats_alpaca[ray]'") from None
    return ray


def _cores_of(nodes: Sequence[dict[str, Any]]) -> list[int]:
    """Give how many cores each living node offers, of those that offer any."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return [number for number in cores if number]


def cores_each(nodes: Sequence[int], portions: int, configs: int) -> int:
    """Say how many cores one task takes, given every node's: more than one only where there are more than portions.

    >>> [cores_each([4, 4, 4, 4], portions, configs=4) for portions in (1, 6, 100)]
    [4, 2, 1]
    """
    return max(min(sum(nodes) // portions, configs, min(nodes, default=1)), 1)


def _run(ray: Any, job: _Job) -> Iterator[dict[str, Any]]:
    """Run a task a portion, in order; Ray Data itself runs again what died."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    numbers = ray.data.range(len(job.portions), override_num_blocks=len(job.portions))
    rows = numbers.map(_make, fn_kwargs={"job": job}, num_cpus=job.cores)
    try:
        yield from rows.iter_rows()
    except ray.exceptions.RayError as error:
        raise ReleaseError(f"the Ray cluster cannot go on: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _make(row: dict[str, Any], job: _Job) -> dict[str, Any]:
    """Make a portion, on some node; what goes wrong with it is a result: only what kills the task is tried again."""
    read: list[int] = []
    result = {"id": row["id"], "entry": "", "failure": b""}
    try:
        result["entry"] = json.dumps(_entry(int(row["id"]), job, read.append))
    except Exception as error:
        result["failure"] = pickle.dumps(error)
    return {**result, "read": sum(read)}


def _entry(number: int, job: _Job, progress: Callable[[int], object]) -> Entry:
    """Make a portion, unless it is known and still as it was; give what the manifest notes."""
    _refuse_other_code(job.code)
    portion = job.portions[number]
    if any("://" not in one.file and not os.path.isabs(one.file) for one in portion.ranges):
        os.chdir(job.here)
    if (found := job.known.get(number)) and kept(found, job.folder, portion, job.work, lambda block: None, progress):
        return found
    at_work = threading.BoundedSemaphore(job.cores)
    how: dict[str, Any] = {"at_work": at_work, "progress": progress, "refuse": job.refuse}
    if job.url:
        return entry_of(make_and_send(number, portion, job.work, _own_place(number, job.url), **how), job.folder)
    folder = _own_folder(number, job.folder)

    def on_block(block: Block) -> None:
        if not folder.exists():
            raise StoppedError  # the build is over

    outcome = make_portion(number, portion, job.work, folder, on_block=on_block, **how)
    return entry_of(outcome.within(folder.name), job.folder)


def _own_place(number: int, url: str) -> str:
    """Do for a URL what `_own_folder` does for a folder."""
    place = f"{number:05d}.try-{secrets.token_hex(6)}"
    with file_system(url) as (files, root):
        _refuse_many(number, len(files.glob(f"{root}/{number:05d}.try-*/begun")))
        make_folder(files, f"{root}/{place}")
    with whole_file(f"{url}/{place}/begun") as stream:
        stream.write(b"yes")
    return f"{url}/{place}"


def _refuse_other_code(code: dict[str, str], part: str = "card") -> None:
    for name, found in own_code(part).items():
        if found != code[name]:
            raise ReleaseError(
                f"node {socket.gethostname()}: {name} is {found!r}, but {code[name]!r} where the build was started; "
                "install the same on all nodes, or the result would depend on the node"
            )


def _own_folder(number: int, folder: Path) -> Path:
    """Make a folder that no other try of this portion has."""
    _refuse_many(number, len(list(folder.glob(f"{number:05d}.try-*"))))
    own = folder / f"{number:05d}.try-{secrets.token_hex(6)}"
    try:
        own.mkdir()
    except FileNotFoundError:
        raise ReleaseError(
            f"node {socket.gethostname()} does not see {folder}; --out must be in a folder that all nodes share"
        ) from None
    return own


def _refuse_many(number: int, tries: int) -> None:
    if tries >= _TRIES:
        raise ReleaseError(f"portion {number} took its worker down {_TRIES} times; look at the memory of the nodes")
