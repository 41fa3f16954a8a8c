"""What a Japanese text is found by: its character pairs, and its kanji one by one.

SQLite's own trigrams find no word of two characters (嘔吐, 元気), and no pair finds one of a single kanji (咳).
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import unicodedata

# Pairs of hiragana that stand in a tenth or more of the packaged questions and contexts and mean nothing by themselves.
_COMMON = frozenset(
    """
    って した です から った ます んで てい まし ない して たら いて いた だけ いま れて にな
    てる りま いい なっ うち さん るの たの ませ のに っと れた かっ せん たい すか くな けて
    まで もう いで しま いの なく んだ われ けど ると めて えて ても のは いる その でも でし
    ので てま てき こと なの くて きま する られ そう しょ なん のが よう てた れる いな まま
    るん なし れま かり みた たん んに まっ なり らい てく ょう それ また もの にし うと かな
    らな けた には をし しを がし をす すと とき ろう だろ
    """.split()  # noqa: SIM905 (a list would take a line for each)
)
_RUN = re.compile(r"[^\W_]+")


def find_grams(text: str) -> set[str]:
    """Give the pairs of neighbouring characters and the single kanji by which a text is found.

    >>> sorted(find_grams("咳をしています。"))
    ['咳', '咳を']
    """
    found: set[str] = set()
    for run in _RUN.findall(normal(text)):
        found.update(first + second for first, second in itertools.pairwise(run))
        found.update(letter for letter in run if "\u3400" <= letter <= "\u9fff" or letter >= "\U00020000")
    return found - _COMMON


def normal(text: str) -> str:
    """Give the form of a text in which its words are looked for.

    >>> normal("ﾈｺ CAT")
    'ネコ cat'
    """
    return unicodedata.normalize("NFKC", text).casefold()


def index_words(store: sqlite3.Connection, number: int, text: str) -> None:
    """Make a shared experience one that can be found."""
    grams = sorted(find_grams(text))
    store.execute("INSERT INTO shared_words (rowid, grams) VALUES (?, ?)", (number, " ".join(grams)))
    store.executemany(
        "INSERT INTO word_counts VALUES (?, 1) ON CONFLICT (gram) DO UPDATE SET experiences = experiences + 1",
        [(gram,) for gram in grams],
    )


def unindex_words(store: sqlite3.Connection, number: int, text: str) -> None:
    """Undo `index_words`; the text must be the same."""
    grams = sorted(find_grams(text))
    # An index without content is told what to forget.
    store.execute(
        "INSERT INTO shared_words (shared_words, rowid, grams) VALUES ('delete', ?, ?)", (number, " ".join(grams))
    )
    store.executemany(
        "UPDATE word_counts SET experiences = experiences - 1 WHERE gram = ?", [(gram,) for gram in grams]
    )
    store.execute("DELETE FROM word_counts WHERE experiences < 1")


def count_words(store: sqlite3.Connection, grams: set[str]) -> dict[str, int]:
    """Count in how many shared experiences each of these stands."""
    found = dict.fromkeys(grams, 0)
    wanted = sorted(grams)
    for start in range(0, len(wanted), 500):  # SQLite limits how many values a query takes
        part = wanted[start : start + 500]
        marks = ", ".join("?" * len(part))
        found.update(store.execute(f"SELECT gram, experiences FROM word_counts WHERE gram IN ({marks})", part))  # noqa: S608
    return found
