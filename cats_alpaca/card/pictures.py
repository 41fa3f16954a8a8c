"""Pictures of the numbers, readable on a telephone, on a light page and on a dark one.

They have no background, and colours that stand out from white and from black. Bytes differ between versions of
matplotlib; so every picture carries the digest of what it shows, and that is what is compared.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .numbers import Lengths, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT, STRONG, WEAK = "#808792", "#d9822b", "#4c8fd6"
"""Of letters and lines; of bars. Each has a contrast of more than 3 to white and to the Hub's dark page."""

_LETTERS = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
_STYLE: Any = {
    **dict.fromkeys(_LETTERS, TEXT),
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "text.parse_math": False,
}
_KEY = "Shows"
_TOPICS = 40
_BARS = 40


def draw(folder: Path, numbers: Numbers) -> None:
    """Draw the pictures of some numbers into a release folder."""
    for name, data in _data(numbers).items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        with _figure() as figure:
            _PICTURES[name](figure, data)
            figure.savefig(file, format="png", dpi=140, transparent=True, metadata={_KEY: _digest(data)})


def stale(folder: Path, numbers: Numbers) -> list[str]:
    """Name the pictures in a folder that do not show these numbers: those that are missing, too, and those too many."""
    wanted = {name: _digest(data) for name, data in _data(numbers).items()}
    return [name for name in _PICTURES if shown(folder / name) != wanted.get(name)]


def shown(file: Path) -> str | None:
    """Give the digest of what a picture of ours shows; None where there is no picture of ours."""
    if not file.is_file():
        return None
    content = file.read_bytes()
    at = 8
    while at + 8 <= len(content):  # PNG (ISO 15948): length, type, content, checksum; in a tEXt chunk, key NUL value
        length, kind = struct.unpack_from(">I4s", content, at)
        key, _, value = content[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"tEXt" and key == _KEY.encode():
            return value.decode("latin-1")
        at += length + 12
    return None


def _data(numbers: Numbers) -> dict[str, Any]:
    data: dict[str, Any] = {
        "assets/lengths.png": {name: _bars(found) for name, found in numbers.lengths.items() if found}
    }
    if topics := numbers.by_topic:
        shown, rest = topics[:_TOPICS], topics[_TOPICS:]
        more = [(f"{len(rest)} more topics", sum(t[1] for t in rest), sum(t[2] for t in rest))] if rest else []
        data["assets/topics.png"] = [
            [_readable(name, rank), rows, contexts]
            for rank, (name, rows, contexts) in enumerate((*shown, *more), start=1)
        ]
    return data


def _readable(name: str, rank: int) -> str:
    """Give a name if every font has its letters, else its place in the card's table.

    >>> _readable("food", 1), _readable("食べ物", 2)
    ('food', 'no. 2')
    """
    if not name.isascii() or not name.isprintable():
        return f"no. {rank}"
    return name if len(name) <= 24 else f"{name[:23]}~"


def _bars(lengths: Lengths) -> list[int]:
    """Count texts by length in bars of equal width, which comes first; the last bar is that of the longest percent."""
    width = max(-(-lengths.at(99) // _BARS), 1)
    bars = [0] * (_BARS + 1)
    for length, count in lengths.items():
        bars[min((length - 1) // width, _BARS)] += count
    return [width, *bars]


def _digest(data: object) -> str:
    code = Path(__file__).read_text("utf-8")  # a picture that would be drawn otherwise is stale, too
    return hashlib.sha256(f"{json.dumps(data)}{code}".encode()).hexdigest()


@contextmanager
def _figure() -> Iterator[Figure]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Figure(layout="constrained")


def _draw_topics(figure: Figure, topics: list[list[Any]]) -> None:
    names, rows, contexts = zip(*topics, strict=True)
    figure.set_size_inches(4.6, 0.9 + 0.2 * len(names))
    axes = figure.subplots()
    places = list(range(len(names)))[::-1]
    axes.barh(places, contexts, color=STRONG, label="with a context")
    without = [all_ - some for all_, some in zip(rows, contexts, strict=True)]
    axes.barh(places, without, left=contexts, color=WEAK, label="without")
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_title("Rows by topic")
    for place, count in zip(places, rows, strict=True):
        axes.annotate(f"{count:,}", (count, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    _whole_numbers(axes, "x")
    figure.legend(loc="outside lower left", ncols=2, frameon=False)


def _draw_lengths(figure: Figure, lengths: dict[str, list[int]]) -> None:
    figure.set_size_inches(4.6, 0.4 + 1.25 * len(lengths))
    for axes, (name, (width, *bars)) in zip(
        figure.subplots(len(lengths), squeeze=False)[:, 0], lengths.items(), strict=True
    ):
        axes.bar([(at + 0.5) * width for at in range(len(bars))], bars, 0.86 * width, color=STRONG)
        axes.set_xlim(0, width * len(bars))
        axes.set_title(f"{name.capitalize()}: rows by length in characters")
        _whole_numbers(axes, "y")


def _whole_numbers(axes: Axes, which: str) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name == which:
            axis.set_major_locator(MaxNLocator(5, integer=True))
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


_PICTURES: dict[str, Callable[[Figure, Any], None]] = {
    "assets/lengths.png": _draw_lengths,
    "assets/topics.png": _draw_topics,
}
NAMES = tuple(_PICTURES)
"""Where the pictures lie in a release folder."""
