"""`cats-alpaca prepare` and `cats-alpaca path`: where the packaged release is, and how to find it by name."""

from __future__ import annotations

import click

from .. import path


@click.command(epilog="Example: cats-alpaca prepare")
def prepare() -> None:
    """Put the packaged dataset into the cache, so that load_dataset("cats_alpaca") works in any folder."""
    from ..builder import prepare as prepare_cache

    click.echo(prepare_cache())


@click.command("path", epilog='Example: ls "$(cats-alpaca path)"')
def print_path() -> None:
    """Print the folder of the packaged release, for any load_dataset."""
    click.echo(path())
