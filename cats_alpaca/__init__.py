"""Cat stories as an Alpaca dataset: read, map, load, release, publish.

A line of JSONL becomes a story (`sources`, `exact`, `stories`), a story becomes a row (`formats`), rows become a file
(`writing`, `conversion`), shards (`ranges`, `sharding`), a release folder (`card`, `manifest`, `remote`, `release`), a
`datasets.Dataset` (`builder`) or a commit on the Hub (`hub`). `checks` tells how good the stories are, `forecast` what
a build will take; `feedback` makes stories of what people live through. Each module imports only from those before it.

This folder is itself a dataset repository: it holds what `cats-alpaca build` makes of the packaged stories. So
`load_dataset(cats_alpaca.path())` needs none of this code, and any `datasets` version can do it.

>>> import cats_alpaca
>>> cats_alpaca.path().name
'cats_alpaca'
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CatsAlpacaError, HubError, ReleaseError, SourceError, StoriesError

if TYPE_CHECKING:
    from .builder import CatsAlpaca, load_dataset, prepare
    from .checks import Finding, check
    from .conversion import convert, convert_to_folder
    from .exact import Keys, Problem
    from .forecast import estimate
    from .hub import Plan, Push, plan_push, push_to_hub
    from .release import build, check_release
    from .stories import ALPACA, STORIES, Report, read_stories

__version__ = "0.1.0"
__all__ = [
    "ALPACA",
    "STORIES",
    "CatsAlpaca",
    "CatsAlpacaError",
    "Finding",
    "HubError",
    "Keys",
    "Plan",
    "Problem",
    "Push",
    "ReleaseError",
    "Report",
    "SourceError",
    "StoriesError",
    "build",
    "check",
    "check_release",
    "convert",
    "convert_to_folder",
    "estimate",
    "load_dataset",
    "path",
    "plan_push",
    "prepare",
    "push_to_hub",
    "read_stories",
]

# Everything that needs pyarrow or datasets is imported when it is first asked for.
_HOMES = {
    "CatsAlpaca": "builder",
    "load_dataset": "builder",
    "prepare": "builder",
    "Finding": "checks",
    "check": "checks",
    "convert": "conversion",
    "convert_to_folder": "conversion",
    "estimate": "forecast",
    "Keys": "exact",
    "Problem": "exact",
    "ALPACA": "stories",
    "STORIES": "stories",
    "Plan": "hub",
    "Push": "hub",
    "plan_push": "hub",
    "push_to_hub": "hub",
    "build": "release",
    "check_release": "release",
    "Report": "stories",
    "read_stories": "stories",
}


def path() -> Path:
    """Give the folder of the packaged release, which `datasets.load_dataset` of any version takes.

    >>> (path() / "README.md").is_file()
    True
    """
    return Path(__file__).parent


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
