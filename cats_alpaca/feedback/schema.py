"""The tables of the store, as the migrations that make them."""

from __future__ import annotations

APPLICATION = 0x6E656B6F
"""Marks the SQLite file as a feedback store: "neko"."""

_FIRST = (
    # The key of the fingerprints, and whether forgotten bytes are still to be overwritten.
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "CREATE TABLE contributors (id TEXT PRIMARY KEY, joined TEXT NOT NULL) STRICT",
    """CREATE TABLE cats (
        id TEXT PRIMARY KEY, contributor TEXT NOT NULL REFERENCES contributors ON DELETE CASCADE, name TEXT NOT NULL,
        UNIQUE (contributor, name)) STRICT""",
    # AUTOINCREMENT: the word index must never take a new experience for a forgotten one.
    """CREATE TABLE experiences (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        cat TEXT NOT NULL REFERENCES cats ON DELETE CASCADE, date TEXT NOT NULL, seen TEXT NOT NULL, done TEXT NOT NULL,
        outcome TEXT NOT NULL, feeling TEXT NOT NULL, shared INTEGER NOT NULL CHECK (shared IN (0, 1))) STRICT""",
    "CREATE INDEX experiences_of_cat ON experiences (cat, date)",
    """CREATE TABLE turns (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        cat TEXT NOT NULL REFERENCES cats ON DELETE CASCADE, date TEXT NOT NULL, question TEXT NOT NULL,
        context TEXT NOT NULL, experience TEXT NOT NULL CHECK (experience IN ('', 'own', 'others')),
        answer TEXT NOT NULL, model TEXT NOT NULL, verdict TEXT NOT NULL CHECK (verdict IN ('', 'up', 'down')),
        correction TEXT NOT NULL) STRICT""",
    "CREATE INDEX turns_of_cat ON turns (cat, date)",
    # No reference to experiences: that a quoted one is gone is what holds a turn back.
    """CREATE TABLE quotes (
        turn TEXT NOT NULL REFERENCES turns (id) ON DELETE CASCADE, experience TEXT NOT NULL,
        PRIMARY KEY (turn, experience)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX quotes_of_experience ON quotes (experience)",
    # Only appended to: the last word of a contributor on each counts.
    """CREATE TABLE consents (
        number INTEGER PRIMARY KEY AUTOINCREMENT, contributor TEXT NOT NULL REFERENCES contributors ON DELETE CASCADE,
        what TEXT NOT NULL CHECK (what IN ('train', 'publish')), given INTEGER NOT NULL CHECK (given IN (0, 1)),
        version TEXT NOT NULL, date TEXT NOT NULL) STRICT""",
    "CREATE INDEX consents_of_contributor ON consents (contributor, what, number)",
    """CREATE VIEW consenting AS
        SELECT id AS contributor FROM contributors c WHERE
        (SELECT given FROM consents WHERE contributor = c.id AND what = 'train' ORDER BY number DESC LIMIT 1) = 1 AND
        (SELECT given FROM consents WHERE contributor = c.id AND what = 'publish' ORDER BY number DESC LIMIT 1) = 1""",
    "CREATE TABLE tombstones (id TEXT PRIMARY KEY, kind TEXT NOT NULL, date TEXT NOT NULL) STRICT",
    "CREATE TABLE fingerprints (mark BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
    # Which turns a release holds, by the digest of its rows; and which releases became a revision.
    "CREATE TABLE builds (digest TEXT, turn TEXT, PRIMARY KEY (digest, turn)) STRICT, WITHOUT ROWID",
    """CREATE TABLE publications (
        repository TEXT, revision TEXT, turn TEXT, PRIMARY KEY (repository, revision, turn)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX publications_of_turn ON publications (turn)",
    "CREATE VIRTUAL TABLE shared_words USING fts5(grams, content = '', tokenize = 'ascii')",
    "CREATE TABLE word_counts (gram TEXT PRIMARY KEY, experiences INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""What makes each version of the store from the one before; `user_version` counts them."""
