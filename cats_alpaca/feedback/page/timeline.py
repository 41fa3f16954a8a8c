"""A cat's experiences and questions along time, as a picture of dates and numbers only.

The numbers are those of the list beside it, so that the picture needs no font for anybody's words.
"""

from __future__ import annotations

import base64
import datetime
import io
import threading
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOCK = threading.Lock()  # matplotlib's fonts are not made for several threads
_MOST = 40
"""How many are drawn, the newest; more cannot be told apart on a telephone."""


class Mark(NamedTuple):
    """What is drawn of an entry: its number in the list, its day, and whether it is an experience or a question."""

    number: int
    date: str
    told: bool


def draw(marks: list[Mark]) -> str:
    """Draw marks along time; give a PNG as a `data:` address, so that no copy stays on the disk.

    >>> draw([Mark(1, "2024-11-08", True)])[:22]
    'data:image/png;base64,'
    """
    with _LOCK:
        figure = _figure(sorted(marks, key=lambda mark: (mark.date, mark.number))[-_MOST:])
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(stream, format="png")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _figure(marks: list[Mark]) -> Figure:
    figure = Figure(figsize=(5, 1.5 if len(marks) < 3 else 2.2), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="#8a6d5a", linewidth=2, zorder=1)
    days = [datetime.date.fromisoformat(mark.date).toordinal() for mark in marks]
    for place, (mark, day) in enumerate(zip(marks, days, strict=True)):
        height = (1, -1, 2, -2)[place % 4]  # neighbours apart
        axes.plot([day, day], [0, height], color="#c9b8ac", linewidth=1.5, zorder=0)
        axes.plot(day, 0, marker="o" if mark.told else "s", color="#a33b12" if mark.told else "#1d5b8f", markersize=9)
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#8a6d5a"}
        axes.text(day, height, str(mark.number), ha="center", va="center", fontsize=12, bbox=box)
    axes.set_ylim(*((-1.8, 1.8) if len(marks) < 3 else (-2.8, 2.8)))
    _set_dates(axes, days[0], days[-1])
    return figure


def _set_dates(axes: Axes, first: int, last: int) -> None:
    edge = max(3, (last - first) // 8)  # room for the dates at the ends
    axes.set_xlim(first - edge, last + edge)
    shown = sorted({first, (first + last) // 2, last} if last - first > 60 else {first, last})
    if 0 < last - first < edge * 2:
        shown = [first]
    axes.set_xticks(shown, [datetime.date.fromordinal(day).isoformat() for day in shown], fontsize=11)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
