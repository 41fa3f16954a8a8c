"""What is remembered for a question: first this cat's own past, then what the group lived through.

The few experiences of one cat are all looked at. Of the group's, SQLite's full-text index gives those that share the
question's rarest words; private ones are not in that index at all. Both are then ranked alike, by how much of the
question's rare words they share and how long ago they were.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import NamedTuple

from .store import NAME, QUESTION, Store, check_contributor, checked, find_cat
from .words import count_words, find_grams, normal

MAX_CHARACTERS = 600
"""How long a context may be, when nothing else is said."""

_OWN, _OTHERS = "この猫のこれまで", "仲間の猫のこと"
FEELING = "いまの気持ち："
_NEWEST = 1_000
"""How many of one cat's experiences are looked at, the newest."""

_RAREST, _POSTINGS, _CANDIDATES = 12, 8_000, 50
_FIELDS = "e.id, e.date, e.seen, e.done, e.outcome, e.feeling"
_CUT = 24
"""Into how little room the best one is cut; of less, nobody could tell what it was."""

_LEAST = 0.25
"""The share of the best one's score below which an experience is not worth its place."""


class Recalled(NamedTuple):
    """What is remembered.

    Attributes:
        text: dated lines, the context; empty when there is nothing.
        kind: `own` where all of them are this cat's, `others` where some are the group's, or empty.
        experiences: the ids of those that are quoted.
    """

    text: str
    kind: str
    experiences: list[str]


class _Found(NamedTuple):
    score: float
    date: str
    id: str
    texts: tuple[str, ...]


def recall(store: Store, who: str, cat: str, question: str, *, max_characters: int = MAX_CHARACTERS) -> Recalled:
    """Remember what helps with a question: only this cat's own experiences, and those that were shared with the group.

    Args:
        store: the open store.
        who: the contributor who asks.
        cat: the name of their cat; it may be a new one.
        question: what is asked.
        max_characters: how long the text may be, headings included.

    Raises:
        FeedbackError: when there is no such contributor, or the question is too long.
    """
    check_contributor(store, who)
    wanted = find_grams(checked("question", question, QUESTION))
    own_cat = find_cat(store, who, checked("cat", cat, NAME)) or ""
    counts = count_words(store, wanted)
    own = _ranked(_find_own(store, own_cat), wanted, counts)
    others = _ranked(_find_shared(store, own_cat, counts), wanted, counts)
    return _rendered(own, others, max_characters)


def split_context(context: str) -> tuple[str, str]:
    r"""Give what of a turn's context is this cat's own past, and what is the group's; not the feeling of the day.

    >>> context = "この猫のこれまで\n2024年11月8日 くしゃみ。\n仲間の猫のこと\n2024年5月 咳。\nいまの気持ち：不安"
    >>> for part in split_context(context):
    ...     print(part.splitlines())
    ['2024年11月8日 くしゃみ。']
    ['2024年5月 咳。']
    """
    own: list[str] = []
    others: list[str] = []
    lines = own
    for line in context.split("\n"):  # each experience is one line that begins with its date
        if line in (_OWN, _OTHERS):
            lines = own if line == _OWN else others
        else:
            lines = [] if line.startswith(FEELING) else lines
            lines.append(line)
    return "\n".join(own), "\n".join(others)


def _find_own(store: Store, cat: str) -> Iterable[tuple[str, ...]]:
    query = f"SELECT {_FIELDS} FROM experiences e WHERE cat = ? ORDER BY date DESC LIMIT ?"  # noqa: S608
    return store.execute(query, (cat, _NEWEST))


def _find_shared(store: Store, cat: str, counts: dict[str, int]) -> Iterable[tuple[str, ...]]:
    rarest = sorted((count, gram) for gram, count in counts.items() if count)[:_RAREST]
    chosen: list[str] = []
    total = 0
    for count, gram in rarest:
        total += count
        if total > _POSTINGS and chosen:
            break
        chosen.append(f'"{gram}"')  # letters and digits only, whatever was typed
    if not chosen:
        return []
    # Where even the rarest word is everywhere, the newest are as good as any, and found without ranking them all.
    order = "e.number DESC" if total > _POSTINGS and len(chosen) == 1 else "bm25(shared_words)"
    return store.execute(
        f"SELECT {_FIELDS} FROM shared_words JOIN experiences e ON e.number = shared_words.rowid"  # noqa: S608
        f" WHERE shared_words MATCH ? AND e.shared = 1 AND e.cat <> ? ORDER BY {order} LIMIT ?",
        (" OR ".join(chosen), cat, _CANDIDATES),
    )


def _ranked(rows: Iterable[tuple[str, ...]], wanted: set[str], counts: dict[str, int]) -> list[_Found]:
    """Order by the rare words that are shared, and halve the bonus of being recent with every year."""
    total = 1 + max(counts.values(), default=0)
    weights = {gram: math.log(1 + total / (counts[gram] + 0.5)) for gram in wanted}
    today = datetime.date.today()
    found = []
    for id_, date, *texts in rows:
        text = normal("\n".join(texts))
        years = max((today - datetime.date.fromisoformat(date)).days, 0) / 365
        score = math.fsum(weight for gram, weight in weights.items() if gram in text) * (1 + 0.5**years)
        found.append(_Found(score, date, id_, tuple(texts)))
    found.sort(reverse=True)
    return [one for one in found if one.score and one.score >= _LEAST * found[0].score]


def _rendered(own: list[_Found], others: list[_Found], room: int) -> Recalled:
    """Take the best that fit, own ones first, and tell them in the order in which they happened."""
    parts: list[str] = []
    ids: list[str] = []
    kind = ""
    for heading, found, name in ((_OWN, own, "own"), (_OTHERS, others, "others")):
        chosen: list[tuple[str, str, str]] = []
        left = room - sum(len(part) + 1 for part in parts) - len(heading)
        for one in found:
            line = _line(one, exact=name == "own")
            if len(line) >= left > _CUT and not ids and not chosen:
                line = line[: left - 2] + "…"
            if len(line) < left:
                chosen.append((one.date, line, one.id))
                left -= len(line) + 1
        if chosen:
            parts.append("\n".join([heading, *(line for _, line, _ in sorted(chosen))]))
            ids += [id_ for _, _, id_ in sorted(chosen)]
            kind = name
    return Recalled("\n".join(parts), kind, ids)


def _line(one: _Found, *, exact: bool) -> str:
    """Tell an experience in one line; of others only the month, for nobody needs the day."""
    year, month, day = one.date.split("-")
    when = f"{year}年{int(month)}月" + (f"{int(day)}日" if exact else "")
    seen, done, outcome, feeling = (" ".join(text.split()).rstrip("。") for text in one.texts)
    told = f"{when}　{seen}。" + (f"{done}。" if done else "") + (f"→{outcome}。" if outcome else "")
    return told + (f"（{feeling}）" if feeling else "")
