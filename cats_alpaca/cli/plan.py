"""`cats-alpaca plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .reading import READING, SHARD_SIZE, how_to_read, with_options

if TYPE_CHECKING:
    from ..forecast import Estimate

# huggingface.co/docs/hub/storage-limits and /repositories-recommendations, as of 2026.
_COMMIT_FILES, _GOOD_FILE_BYTES, _MAX_FILE_BYTES, _FREE_PRIVATE_BYTES = 100, 20e9, 50e9, 100e9


@click.command(epilog="Example: cats-alpaca plan cats.jsonl --cores 8")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True)
@click.option("--cores", metavar="C", type=click.IntRange(min=1), help="Plan for so many. [default: this machine's]")
@click.option("--engine", type=click.Choice(["threads", "ray"]), default="threads", show_default=True, help="As build.")
@click.option("--nodes", metavar="N", type=click.IntRange(min=1), help="Of a Ray cluster, each with --cores.")
@click.option(
    "--test-fraction",
    metavar="F",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="As build takes it.",
)
@with_options(SHARD_SIZE, *READING)
def plan(
    sources: tuple[str, ...],
    cores: int | None,
    engine: str,
    nodes: int | None,
    test_fraction: float | None,
    max_shard_size: int,
    **options: Any,
) -> None:
    """Say what a build of SRC would take and make: time, memory, shards, rows, bytes, and what the Hub says to it.

    Builds a few MB of SRC here to find out. Time is for processors like this machine's.
    """
    from ..forecast import estimate
    from ..sharding import processors

    if "-" in sources:
        raise click.UsageError("plan needs the size of its sources; put standard input into a file.")
    if (engine == "ray") != bool(nodes):
        raise click.UsageError("--engine ray and --nodes need each other.")
    found = estimate(
        sources,
        cores=cores,
        nodes=nodes,
        max_shard_size=max_shard_size,
        test_fraction=test_fraction or 0.0,
        **how_to_read(**options),
    )
    _show(found, cores or processors(), nodes)


def _show(found: Estimate, cores: int, nodes: int | None) -> None:
    lines = {
        "source": f"{_size(found.source_bytes)} of JSONL, {_size(found.sampled_bytes)} of it sampled",
        "rows": f"about {found.rows:,}, and about {found.rejected:,} bad lines",
        "shards": f"{found.shards:,} a config, about {_size(found.largest_bytes)} the largest",
        "release": f"{found.files:,} files, about {_size(found.release_bytes)}",
        "time": f"about {_time(found.seconds)} on {_machines(found, cores, nodes)}",
        "memory": f"about {_size(found.memory)}" + " a node" * bool(nodes),
        "Hub": _on_the_hub(found),
    }
    for name, text in lines.items():
        click.echo(f"{name:8}{text}")


def _machines(found: Estimate, cores: int, nodes: int | None) -> str:
    """Say on what the time is spent; how many cores of a cluster the portions keep busy."""
    if nodes is None:
        return f"{cores} cores"
    return f"{nodes} nodes of {cores} cores, {found.busy_cores:,} of {nodes * cores:,} busy"


def _on_the_hub(found: Estimate) -> str:
    """Say what a push would mean, going by the Hub's documentation."""
    notes = [f"{found.files:,} files in 1 commit (it recommends at most {_COMMIT_FILES})"]
    if found.largest_bytes > _GOOD_FILE_BYTES:
        allowed = "refuses" if found.largest_bytes > _MAX_FILE_BYTES else "takes, but does not recommend,"
        notes.append(f"it {allowed} files like the largest: 20 GB is its recommendation, 50 GB its limit")
    if found.release_bytes > _FREE_PRIVATE_BYTES:
        notes.append("a private repository of a free account holds 100 GB: make it public, or pay for storage")
    return "; ".join(notes) + ". See huggingface.co/docs/hub/storage-limits"


def _size(count: float) -> str:
    """Write a number of bytes as people do.

    >>> [_size(count) for count in (999, 12_345, 5 * 10**11)]
    ['999 B', '12.3 kB', '500 GB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _time(seconds: float) -> str:
    """Write a time as people do.

    >>> [_time(seconds) for seconds in (0.4, 90, 5000)]
    ['1 s', '90 s', '83 min']
    """
    if seconds < 120:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
