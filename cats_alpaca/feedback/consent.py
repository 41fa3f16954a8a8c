"""What a contributor allows: `train` and `publish` apart, each given and taken back at any time.

The words that people agree to are files beside this one, one a version and language, and never change once released.
"""

from __future__ import annotations

import datetime
from importlib.resources import files
from typing import NamedTuple

from ..errors import FeedbackError
from .store import Store, check_contributor, writing

KINDS = ("train", "publish")
LANGUAGES = ("ja", "en")
VERSION = "1"


class Consent(NamedTuple):
    """The last word of a contributor on one of the two."""

    given: bool
    version: str
    date: str


def consent_text(language: str = "ja", version: str = VERSION) -> str:
    """Give the words that somebody agrees to.

    >>> consent_text("en").splitlines()[0]
    'What may become of what you tell us'
    """
    if language not in LANGUAGES:
        raise FeedbackError(f"the text is there in {' and '.join(LANGUAGES)}, not in {language[:20]!r}")
    return files(__package__).joinpath("texts", f"consent-{version}.{language}.txt").read_text("utf-8")


def consents(store: Store, who: str) -> dict[str, Consent]:
    """Give what a contributor allows today; what they never spoke of is not given."""
    check_contributor(store, who)
    rows = store.execute(
        "SELECT what, given, version, date FROM consents WHERE contributor = ? ORDER BY number", (who,)
    )
    return dict.fromkeys(KINDS, Consent(False, "", "")) | {
        what: Consent(bool(given), version, date) for what, given, version, date in rows
    }


def set_consent(store: Store, who: str, what: str, given: bool) -> None:
    """Give a consent to the text of today, or take it back; the next export and the next build follow it.

    Raises:
        FeedbackError: when there is no such contributor, or no such consent.
    """
    if what not in KINDS:
        raise FeedbackError(f"a consent is to {' or to '.join(KINDS)}, not to {what[:40]!r}")
    with writing(store):
        check_contributor(store, who)
        store.execute(
            "INSERT INTO consents (contributor, what, given, version, date) VALUES (?, ?, ?, ?, ?)",
            (who, what, int(given), VERSION, datetime.date.today().isoformat()),
        )
