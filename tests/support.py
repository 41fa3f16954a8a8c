"""Names that several test modules share."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

Write = Callable[..., str]
"""Writes records, or bytes as they stand, to a file of a given name; gives its path."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs the command line with some arguments."""


def code_blocks(card: str, section: str, language: str = "python") -> list[str]:
    """Give the code that stands in one section of a card, ready to run."""
    [part] = re.findall(rf"^<!-- cats-alpaca:begin {section} .*?^<!-- cats-alpaca:end {section} -->", card, re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.M | re.S)
