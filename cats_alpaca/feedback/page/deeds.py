"""What each button does: it asks the library as the person who is signed in, and says what changes on the page.

No deed decides who may what: whatever id the browser sends, the library refuses what is not theirs.
"""

from __future__ import annotations

import datetime
import html
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from ... import feedback as library
from ...errors import FeedbackError, ModelError
from ..export import collect, export
from ..recall import split_context
from ..store import count
from .timeline import Mark, draw
from .words import Words

NEW = "new"
"""The choice of a cat that has no note yet."""

_SHOWN = 20
_DRAFTS = threading.Semaphore(8)  # so that slow answers never take all threads that serve the page

Changes = dict[str, Any]
"""What changes on the page: the name of a part, and its new value or properties."""


class Host(NamedTuple):
    """What the page stands on.

    Attributes:
        store: the file of the feedback store.
        owner: who is at the machine, where nobody signs in.
        people: the file of those who may sign in.
        maintainers: the names of those who also see the maintainer's part.
        model_url: where a model answers, or empty.
        model: its name there, or empty.
        key: its key, or empty.
        seconds: how long to wait for its answer.
        folder: where the maintainer's data goes.
    """

    store: str
    owner: str
    people: str
    maintainers: frozenset[str]
    model_url: str
    model: str
    key: str
    seconds: float
    folder: str


class Me(NamedTuple):
    """Who acts, in which language, on which open store."""

    store: library.Store
    who: str
    maintains: bool
    words: Words
    host: Host


def tell(text: str, good: bool = True) -> str:
    """Make a message of the page's own words."""
    return f'<p class="{"good" if good else "bad"}">{html.escape(text)}</p>'


# ---- the cat that all is about


def start(me: Me) -> Changes:
    """Fill the page when it opens."""
    found = library.cats(me.store, me.who)
    given = {f"{what}_given": last.given for what, last in library.consents(me.store, me.who).items()}
    return {
        **_cats(me, found[0][0] if len(found) == 1 else None if found else NEW),
        **given,
        "mine_said": _told_consent(me),
        "date": _today(),
        "manage_tab": gr.update(visible=me.maintains),
    }


def _today() -> str:
    return datetime.date.today().isoformat()


def choose_cat(me: Me, cat: str | None) -> Changes:
    """Ask for a name where the cat is a new one, and show the notes of the chosen one."""
    return {"cat_name": gr.update(visible=cat == NEW), **_look_anew(me, cat, "")}


def _cats(me: Me, chosen: str | None) -> Changes:
    choices = [(name, id_) for id_, name in library.cats(me.store, me.who)]
    return {
        "cat": gr.update(choices=[*choices, (me.words.new_cat, NEW)], value=chosen, visible=bool(choices)),
        "cat_name": gr.update(value="", visible=chosen == NEW),
    }


def _name(me: Me, cat: str | None, cat_name: str | None) -> str:
    if not cat:
        raise FeedbackError(me.words.choose_cat)
    if cat == NEW:
        return cat_name or ""
    for id_, name in library.cats(me.store, me.who):
        if id_ == cat:
            return name
    raise FeedbackError("you have nothing with the id")


def _chosen(me: Me, name: str) -> Changes:
    return _cats(me, next(id_ for id_, known in library.cats(me.store, me.who) if known == name.strip()))


# ---- write


def note(me: Me, cat: str, cat_name: str, date: str, share: str, *texts: str) -> Changes:
    """Keep an experience."""
    name = _name(me, cat, cat_name)
    fields = dict(zip(("seen", "done", "outcome", "feeling"), (text or "" for text in texts), strict=True))
    library.add(me.store, me.who, name, date=(date or "").strip(), shared=share == "group", **fields)
    return {**_chosen(me, name), **dict.fromkeys(fields, ""), "date": _today(), "write_said": tell(me.words.kept)}


# ---- ask


def ask(me: Me, cat: str, cat_name: str, question: str, feeling_now: str) -> Changes:
    """Keep a question and show what is recalled for it."""
    name = _name(me, cat, cat_name)
    turn = library.ask(me.store, me.who, name, question or "", feeling=feeling_now or "")
    own, others = split_context(turn.context)
    said = f"{me.words.asked} {me.words.thinking if me.host.model_url else me.words.no_model}"
    return {
        **_chosen(me, name),
        "own": gr.update(value=own or me.words.nothing, visible=True),
        "others": gr.update(value=others, visible=bool(others)),
        "turn": turn.id,
        "to_draft": turn.id if me.host.model_url else "",
        "answer": gr.update(value="", visible=False),
        "again": gr.update(visible=False),
        "verdict": gr.update(value=None, visible=False),
        "correction": "",
        "judging": gr.update(visible=True),
        "judge_said": "",
        "ask_said": tell(said),
    }


def draft(me: Me, turn: str) -> Changes:
    """Have a model answer a question that was kept."""
    if not turn:
        return {}
    waiting = {"to_draft": "", "again": gr.update(visible=True)}
    if not _DRAFTS.acquire(blocking=False):
        return {**waiting, "ask_said": tell(me.words.model_busy, good=False)}
    host = me.host
    try:
        found = library.draft(
            me.store, me.who, turn, host.model_url, model=host.model, key=host.key, total_seconds=host.seconds
        )
    except ModelError as error:
        print(error, file=sys.stderr)  # for whoever runs the page: the address is nobody else's business
        return {**waiting, "ask_said": tell(me.words.model_fails, good=False)}
    finally:
        _DRAFTS.release()
    return {
        "to_draft": "",
        "again": gr.update(visible=False),
        "answer": gr.update(value=found.answer, visible=True),
        "verdict": gr.update(visible=True),
        "ask_said": tell(me.words.answered),
    }


def judge(me: Me, turn: str, verdict: str | None, correction: str) -> Changes:
    """Judge an answer, and correct it."""
    if not turn:
        raise FeedbackError(me.words.nothing_asked)
    if not verdict and not (correction or "").strip():
        raise FeedbackError(me.words.choose_verdict)
    library.rate(me.store, me.who, turn, verdict or "down", correction=correction or "")
    return {"judge_said": tell(me.words.judged)}


# ---- look


def look(me: Me, cat: str | None, shown: str, entry: str | None) -> Changes:
    """Show a cat's notes as a picture and a list, and all of the chosen one.

    Where none is chosen, none is taken back either: one may have been chosen while this was on its way.
    """
    if entry and entry not in {one.id for _, one in _entries(me, cat)}:
        return _look_anew(me, cat, shown)
    return {**_look(me, cat, shown), **(choose_entry(me, entry) if entry else {})}


def _look_anew(me: Me, cat: str | None, shown: str) -> Changes:
    """Show a cat's notes, none of them chosen."""
    return {**_look(me, cat, shown, value=None), "chosen": gr.update(visible=False)}


def _look(me: Me, cat: str | None, shown: str, **chosen: None) -> Changes:
    entries = _entries(me, cat)
    most = max(_SHOWN, int(shown) if shown and shown.isdecimal() and len(shown) < 6 else 0)
    return {
        "picture": _picture(me, entries),
        "entry": gr.update(
            choices=[(_label(me, number, one), one.id) for number, one in entries[:most]],
            visible=bool(entries),
            **chosen,
        ),
        "older": gr.update(visible=len(entries) > most),
        "shown": str(most),
        "forget_cat": gr.update(visible=bool(entries)),
        "look_said": "" if cat else tell(me.words.choose_cat),
    }


def look_older(me: Me, cat: str | None, shown: str) -> Changes:
    """Show more of the list."""
    return _look(me, cat, str(int(shown) + _SHOWN) if shown.isdecimal() and len(shown) < 6 else "")


def _entries(me: Me, cat: str | None) -> list[tuple[int, library.Experience | library.Turn]]:
    """Give the notes of a cat, the newest first, numbered from the oldest."""
    if not cat or cat == NEW:
        return []
    name = _name(me, cat, "")
    both: list[library.Experience | library.Turn] = [
        *library.experiences(me.store, me.who),
        *library.turns(me.store, me.who),
    ]
    found = sorted((one for one in both if one.cat == name), key=lambda one: one.date)
    return list(enumerate(found, 1))[::-1]


def _picture(me: Me, entries: list[tuple[int, library.Experience | library.Turn]]) -> str:
    if not entries:
        return tell(me.words.no_picture)
    marks = [Mark(number, one.date, isinstance(one, library.Experience)) for number, one in entries]
    told = sum(mark.told for mark in marks)
    alt = me.words.picture.format(first=marks[-1].date, last=marks[0].date, told=told, asked=len(marks) - told)
    return f'<img src="{draw(marks)}" alt="{html.escape(alt)}">'


def _label(me: Me, number: int, one: library.Experience | library.Turn) -> str:
    kind, text = (
        (me.words.experience, one.seen) if isinstance(one, library.Experience) else (me.words.turn, one.question)
    )
    line = " ".join(text.split())
    return f"{number}　{one.date}　{kind}：{line if len(line) <= 40 else f'{line[:39]}…'}"


def choose_entry(me: Me, entry: str | None) -> Changes:
    """Show all of one note, and what can be done with it."""
    one = _entry(me, entry)
    words = me.words
    asked = isinstance(one, library.Turn)
    if isinstance(one, library.Turn):
        # Where there was no answer, what was written is an answer, and no verdict.
        verdict = {"up": words.up, "down": words.down}.get(one.verdict, "") if one.answer else ""
        lines = [
            (words.question, one.question),
            ("", one.context),
            (words.answer, one.answer),
            (words.verdict, verdict),
        ]
        lines.append((words.correction, one.correction))
    else:
        lines = [(words.seen, one.seen), (words.done, one.done), (words.outcome, one.outcome)]
        lines += [(words.feeling, one.feeling), (words.share, words.group if one.shared else words.only_me)]
    return {
        "chosen": gr.update(visible=True),
        "details": "\n".join([one.date, *(f"{title}\n　{text}" if title else text for title, text in lines if text)]),
        "change_share": gr.update(visible=not asked),
        "mending": gr.update(visible=asked),
        "mended": one.correction if isinstance(one, library.Turn) else "",
        "entry_said": "",
        "sure_entry": gr.update(visible=False),
    }


def _entry(me: Me, entry: str | None) -> library.Experience | library.Turn:
    if not entry:
        raise FeedbackError(me.words.choose_entry)
    for one in library.experiences(me.store, me.who):
        if one.id == entry:
            return one
    return library.find_turn(me.store, me.who, entry)


def change_share(me: Me, entry: str | None) -> Changes:
    """Let the group read an experience, or nobody from now on."""
    one = _entry(me, entry)
    shared = isinstance(one, library.Experience) and not one.shared
    library.share(me.store, me.who, one.id, shared)
    said = me.words.shared_now if shared else me.words.unshared_now
    return {**choose_entry(me, entry), "entry_said": tell(said)}


def mend(me: Me, entry: str | None, mended: str) -> Changes:
    """Correct an answer of the past."""
    one = _entry(me, entry)
    library.rate(me.store, me.who, one.id, "down", correction=mended or "")
    return {**choose_entry(me, entry), "entry_said": tell(me.words.judged)}


def forget_entry(me: Me, entry: str | None, cat: str | None, shown: str) -> Changes:
    """Forget one note."""
    said = _forget(me, _entry(me, entry).id)
    return {**_look_anew(me, cat, shown), "look_said": said}


def forget_cat(me: Me, cat: str | None) -> Changes:
    """Forget a cat with all of hers."""
    if not cat or cat == NEW:
        raise FeedbackError(me.words.choose_cat)
    said = _forget(me, cat)
    kept = _cats(me, None if library.cats(me.store, me.who) else NEW)
    return {**kept, **_look_anew(me, None, ""), "sure_cat": gr.update(visible=False), "look_said": said}


def _forget(me: Me, what: str) -> str:
    gone = library.forget(me.store, me.who, what)
    words = me.words
    parts = [words.forgotten.format(count=len(gone.ids))]
    if gone.quoting:
        parts.append(words.quoted.format(count=len(gone.quoting)))
    if gone.publications:
        where = ", ".join(f"{one.repository} {one.revision}" for one in gone.publications)
        parts.append(words.still_published.format(where=where))
    return tell(" ".join(parts))


# ---- me


def consent_train(me: Me, given: bool) -> Changes:
    """Give or take back the permission to train; one at a time, so that none arrives with an older other one."""
    return _consent(me, "train", given)


def consent_publish(me: Me, given: bool) -> Changes:
    """Give or take back the permission to publish."""
    return _consent(me, "publish", given)


def _consent(me: Me, what: str, given: bool) -> Changes:
    if library.consents(me.store, me.who)[what].given != (given is True):
        library.set_consent(me.store, me.who, what, given is True)
    return {"mine_said": _told_consent(me, me.words.changed)}


def _told_consent(me: Me, said: str = "") -> str:
    both = all(last.given for last in library.consents(me.store, me.who).values())
    return tell(f"{said} {me.words.both_given if both else me.words.not_both}".strip())


def take_along(me: Me) -> Changes:
    """Give everything of theirs as lines that `cats-alpaca feedback import` takes."""
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in _records(me))
    return {"everything": gr.update(value=lines, visible=True), "take_said": tell(me.words.taken)}


def _records(me: Me) -> Iterator[dict[str, str]]:
    for one in library.experiences(me.store, me.who):
        yield {**one._asdict(), "shared": "group" if one.shared else "nobody"}
    for turn in library.turns(me.store, me.who):
        # A context cannot be imported, for it quotes what may be others'; it is theirs to read all the same.
        record = {name: text for name, text in turn._asdict().items() if text and name != "context"}
        yield {**record, **({"recalled": turn.context} if turn.context else {})}


def forget_me(me: Me) -> Changes:
    """Forget a person with everything."""
    said = _forget(me, me.who)
    blank = {"everything": gr.update(value="", visible=False), "take_said": "", "train_given": False}
    empty: Changes = {"cat": gr.update(choices=[], value=None, visible=False), "chosen": gr.update(visible=False)}
    empty |= {"entry": gr.update(choices=[], value=None, visible=False), "picture": "", "own": gr.update(visible=False)}
    empty |= {"others": gr.update(value="", visible=False), "judging": gr.update(visible=False), "turn": ""}
    gone = said + tell(me.words.gone)
    return {**blank, **empty, "publish_given": False, "sure_me": gr.update(visible=False), "gone_said": gone}


# ---- the maintainer


def manage(me: Me) -> Changes:
    """Count what there is, what may leave the store, and why the rest stays."""
    _check_maintainer(me)
    given = collect(me.store)
    lines = [me.words.counted.format(**count(me.store)), me.words.leave.format(count=len(given.ids))]
    reasons = Counter(one.code for one in given.held)
    lines += [me.words.stay.format(code=code, count=number) for code, number in reasons.most_common()]
    named = [one for one in given.held if one.code not in ("no-consent", "not-judged")]
    lines += ["", *(f"{one.turn}: {one.reason} [{one.code}]" for one in named[:50])]
    return {"counts": "\n".join(lines).rstrip(), "manage_said": ""}


def export_data(me: Me) -> Changes:
    """Write what may leave the store to the folder that was named when the page was started."""
    _check_maintainer(me)
    export(me.store, me.host.folder)
    return {**manage(me), "manage_said": tell(me.words.exported.format(folder=me.host.folder))}


def _check_maintainer(me: Me) -> None:
    if not me.maintains:
        raise FeedbackError(me.words.not_maintainer)
