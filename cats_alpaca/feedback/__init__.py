r"""The feedback loop: what people lived through, and what they said of an answer, becomes the next revision's rows.

An experience is added (`store`), recalled for a question (`recall`) and answered (`ask`); the person judges the answer.
What they consent to have trained on and published (`consent`) is exported (`export`), what they take back is forgotten
(`withdrawal`). Default deny: nothing leaves the store without both consents.

>>> import tempfile
>>> from cats_alpaca import feedback
>>> with feedback.open_store(tempfile.mkdtemp() + "/cats.sqlite") as store:
...     me = feedback.join(store)
...     _ = feedback.add(store, me, "ミケ", "朝からくしゃみ", outcome="一週間で治った", date="2024-11-08")
...     feedback.ask(store, me, "ミケ", "くしゃみをしています").context
'この猫のこれまで\n2024年11月8日　朝からくしゃみ。→一週間で治った。'
"""

from __future__ import annotations

from ..errors import FeedbackError, ModelError
from .ask import ask, draft
from .consent import Consent, consent_text, consents, set_consent
from .recall import Recalled, recall
from .store import (
    Experience,
    Store,
    Turn,
    add,
    cats,
    experiences,
    find_contributors,
    find_turn,
    join,
    open_store,
    rate,
    share,
    turns,
)
from .withdrawal import Forgotten, Publication, find_publications, find_withdrawn, forget, record_publication

__all__ = [
    "Consent",
    "Experience",
    "FeedbackError",
    "Forgotten",
    "ModelError",
    "Publication",
    "Recalled",
    "Store",
    "Turn",
    "add",
    "ask",
    "cats",
    "consent_text",
    "consents",
    "draft",
    "experiences",
    "find_contributors",
    "find_publications",
    "find_turn",
    "find_withdrawn",
    "forget",
    "join",
    "open_store",
    "rate",
    "recall",
    "record_publication",
    "set_consent",
    "share",
    "turns",
]
