"""Names that several test modules share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

Write = Callable[..., str]
"""Writes records, or bytes as they stand, to a file of a given name; gives its path."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs the command line with some arguments."""
