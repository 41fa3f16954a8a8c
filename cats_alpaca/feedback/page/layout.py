"""What is on the page, in which order, and which button does what."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import gradio as gr

from ...errors import FeedbackError
from .. import consent_text, open_store
from . import deeds
from .deeds import Changes, Host, Me, tell
from .limits import new_limiter
from .people import read_people
from .words import EN, JA, Words, explain

Parts = dict[str, Any]
"""What is on the page, by name."""

CSS = files(__package__).joinpath("page.css").read_text("utf-8")
_SAID = "".join(
    f"const {name.upper()} = {json.dumps({words.language: getattr(words, name) for words in (JA, EN)})};\n"
    for name in ("failed", "signed_out")
)
HEAD = f"<script>{_SAID}{files(__package__).joinpath('page.js').read_text('utf-8')}</script>"
_COST = {"draft": 6.0, "forget_me": 6.0, "export_data": 6.0}
# Without the queue, whose results whoever knows a browser's number could read.
_HOW: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
_SAVE = """(text) => {
    if (!text) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    link.download = "cats.jsonl";
    link.click();
}"""


def new_theme() -> gr.themes.Base:
    """Give the colours: each is dark enough on white, and none of the fonts is fetched from elsewhere."""
    orange = gr.themes.colors.orange
    dark = gr.themes.Color(
        orange.c50, orange.c100, orange.c200, orange.c300, orange.c600, "#b03a0b",
        orange.c800, orange.c800, orange.c900, orange.c950, orange.c950,
    )  # fmt: skip
    theme = gr.themes.Base(
        primary_hue=dark, neutral_hue="stone", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    return theme.set(
        button_primary_background_fill="#9a3412",
        button_primary_background_fill_hover="#7c2d12",
        button_primary_text_color="white",
        button_cancel_background_fill="#b3261e",
        button_cancel_background_fill_hover="#8c1d18",
        button_cancel_text_color="white",
        block_title_text_weight="600",
        input_placeholder_color="#6b6560",
        input_border_color="#8a8078",
        checkbox_border_color="#6b6560",
    )


def build_page(host: Host) -> gr.Blocks:
    """Build the page, Japanese at `/` and English at `/en`."""
    take = new_limiter(60, 1)
    gr.Radio.preprocess = _take_text  # type: ignore[method-assign, assignment] # a class of our own would need a build by Gradio
    blocks = gr.Blocks(title=JA.title, analytics_enabled=False)
    with blocks:
        _build(blocks, host, JA, take)
    with blocks.route(EN.title, "en", show_in_navbar=False):
        _build(blocks, host, EN, take)
    return blocks


def _build(blocks: gr.Blocks, host: Host, words: Words, take: Callable[[str, float], bool]) -> None:
    parts = _lay_out(host, words)

    def on(event: Any, deed: Callable[..., Changes], takes: str = "", said: str = "") -> Any:
        act = _acting(host, words, take, deed, parts, said)
        inputs = [parts[name] for name in takes.split()]
        name = f"{deed.__name__}_{words.language}"
        return event(act, inputs, list(parts.values()), api_name=name, **_HOW)

    on(blocks.load, deeds.start, said="write_said")
    on(parts["cat"].input, deeds.choose_cat, "cat", "look_said")
    on(parts["keep"].click, deeds.note, "cat cat_name date share seen done outcome feeling", "write_said")
    asked = on(parts["send"].click, deeds.ask, "cat cat_name question feeling_now", "ask_said")
    on(asked.then, deeds.draft, "to_draft", "ask_said")
    on(parts["again"].click, deeds.draft, "turn", "ask_said")
    on(parts["judge"].click, deeds.judge, "turn verdict correction", "judge_said")
    on(parts["look_tab"].select, deeds.look, "cat shown entry", "look_said")
    on(parts["older"].click, deeds.look_older, "cat shown", "look_said")
    on(parts["entry"].input, deeds.choose_entry, "entry", "entry_said")
    on(parts["change_share"].click, deeds.change_share, "entry", "entry_said")
    on(parts["mend"].click, deeds.mend, "entry mended", "entry_said")
    on(parts["yes_entry"].click, deeds.forget_entry, "entry cat shown", "entry_said")
    on(parts["yes_cat"].click, deeds.forget_cat, "cat", "look_said")
    on(parts["train_given"].input, deeds.consent_train, "train_given", "mine_said")
    on(parts["publish_given"].input, deeds.consent_publish, "publish_given", "mine_said")
    taken = on(parts["take_along"].click, deeds.take_along, "", "take_said")
    taken.then(None, parts["everything"], None, js=_SAVE, **_HOW)
    on(parts["yes_me"].click, deeds.forget_me, "", "gone_said")
    on(parts["manage_tab"].select, deeds.manage, "", "manage_said")
    on(parts["refresh"].click, deeds.manage, "", "manage_said")
    on(parts["export"].click, deeds.export_data, "", "manage_said")
    for what, button in (("entry", "forget"), ("cat", "forget_cat"), ("me", "forget_me")):
        for part, shown in ((button, True), (f"no_{what}", False)):
            parts[part].click(_show(shown), None, parts[f"sure_{what}"], **_HOW)


def _show(shown: bool) -> Callable[[], Any]:
    return lambda: gr.update(visible=shown)


def _acting(
    host: Host, words: Words, take: Callable[[str, float], bool], deed: Callable[..., Changes], parts: Parts, said: str
) -> Callable[..., Any]:
    """Make of a deed what Gradio calls: it finds who asks, keeps the pace, and says what went wrong."""

    def act(request: gr.Request, *inputs: Any) -> Any:
        try:
            changes = _do(host, words, take, deed, request.username, inputs)
        except FeedbackError as error:
            known = str(error) in words
            if (text := str(error) if known else explain(words, str(error))) == words.failed:
                print(error, file=sys.stderr)
            changes = {said: tell(text, good=False)}
        return {parts[name]: change for name, change in changes.items()} or gr.skip()

    return act


def _do(
    host: Host,
    words: Words,
    take: Callable[[str, float], bool],
    deed: Callable[..., Changes],
    name: str | None,
    inputs: tuple[Any, ...],
) -> Changes:
    who, maintains = host.owner, True
    if host.people:
        person = read_people(host.people).get(name or "")
        who, maintains = person.contributor if person else "", name in host.maintainers
    if not who:
        raise FeedbackError(words.gone)
    if not take(who, _COST.get(deed.__name__, 1)):
        raise FeedbackError(words.too_fast)
    with open_store(host.store, create=False) as store:
        return deed(Me(store, who, maintains, words, host), *inputs)


# ---- what is on the page


def _lay_out(host: Host, words: Words) -> Parts:
    other, lang = ("./en", "en") if words is JA else ("./", "ja")
    sign_out = f'<a href="./logout">{words.sign_out}</a>' if host.people else ""
    parts: Parts = {}
    gr.HTML(
        f'<header><h1>{words.title}</h1><nav><a href="{other}" lang="{lang}">{words.other_language}</a>{sign_out}</nav>'
        f"<p>{words.lead}</p></header>"
    )
    parts["cat"] = _choice([], words.which_cat, visible=False, elem_id="cat")
    parts["cat_name"] = gr.Textbox(
        label=words.cat_name, placeholder=words.cat_name_hint, max_lines=1, visible=False, interactive=True
    )
    with gr.Tabs():
        with gr.Tab(words.write):
            _lay_out_write(parts, words)
        with gr.Tab(words.ask):
            _lay_out_ask(parts, words)
        with gr.Tab(words.look) as parts["look_tab"]:
            _lay_out_look(parts, words)
        with gr.Tab(words.mine):
            _lay_out_mine(parts, words)
        with gr.Tab(words.manage, visible=False) as parts["manage_tab"]:
            parts["counts"] = _reading(words.counts, lines=8, visible=True)
            parts["refresh"] = gr.Button(words.refresh)
            parts["export"] = gr.Button(words.export, variant="primary")
            parts["manage_said"] = _said()
    return parts


def _choice(choices: list[tuple[str, str]], label: str, value: str | None = None, **options: Any) -> gr.Radio:
    return gr.Radio(choices, label=label, value=value, interactive=True, **options)


def _take_text(_: gr.Radio, payload: Any) -> str | None:
    """Take what was chosen: the library judges it.

    Gradio would ask a list that a new start of the server has forgotten, and what was typed could no longer be sent.
    """
    return payload if isinstance(payload, str) else None


def _said() -> gr.HTML:
    return gr.HTML("", elem_classes="said")


def _text(label: str, hint: str = "", lines: int = 2) -> gr.Textbox:
    return gr.Textbox(label=label, placeholder=hint, lines=lines, max_lines=12, interactive=True)


def _reading(label: str, *, lines: int = 2, visible: bool = False) -> gr.Textbox:
    return gr.Textbox(label=label, lines=lines, max_lines=20, interactive=False, visible=visible)


def _lay_out_write(parts: Parts, words: Words) -> None:
    parts["date"] = gr.Textbox(label=words.date, max_lines=1, elem_id="date", interactive=True)
    parts["seen"] = _text(words.seen, words.seen_hint)
    parts["done"] = _text(words.done, words.done_hint, 1)
    parts["outcome"] = _text(words.outcome, words.outcome_hint, 1)
    parts["feeling"] = _text(words.feeling, words.feeling_hint, 1)
    parts["share"] = _choice([(words.only_me, "me"), (words.group, "group")], words.share, "me")
    gr.HTML(tell(words.no_names))
    parts["keep"] = gr.Button(words.keep, variant="primary")
    parts["write_said"] = _said()


def _lay_out_ask(parts: Parts, words: Words) -> None:
    parts["question"] = _text(words.question, words.question_hint)
    parts["feeling_now"] = _text(words.feeling_now, words.feeling_now_hint, 1)
    gr.HTML(tell(words.no_names))
    parts["send"] = gr.Button(words.send, variant="primary")
    parts["ask_said"] = _said()
    parts["turn"], parts["to_draft"] = gr.Textbox(visible=False), gr.Textbox(visible=False)
    parts["own"], parts["others"] = _reading(words.own), _reading(words.others)
    parts["answer"] = _reading(words.answer, lines=3)
    parts["again"] = gr.Button(words.again, visible=False)
    with gr.Column(visible=False) as parts["judging"]:
        parts["verdict"] = _choice([(words.up, "up"), (words.down, "down")], words.verdict, visible=False)
        parts["correction"] = _text(words.correction, words.correction_hint)
        parts["judge"] = gr.Button(words.judge, variant="primary")
        parts["judge_said"] = _said()


def _lay_out_look(parts: Parts, words: Words) -> None:
    parts["look_said"] = _said()
    parts["picture"] = gr.HTML("", elem_classes="picture")
    parts["shown"] = gr.Textbox(visible=False)
    parts["entry"] = _choice([], words.entries, visible=False, elem_classes="entries")
    parts["older"] = gr.Button(words.older, visible=False)
    with gr.Column(visible=False) as parts["chosen"]:
        parts["details"] = _reading(words.details, lines=4, visible=True)
        with gr.Column(visible=False) as parts["mending"]:
            parts["mended"] = _text(words.correction, words.correction_hint)
            parts["mend"] = gr.Button(words.mend)
        parts["change_share"] = gr.Button(words.change_share, visible=False)
        parts["forget"] = gr.Button(words.forget)
        _lay_out_sure(parts, words, "entry")
        parts["entry_said"] = _said()
    parts["forget_cat"] = gr.Button(words.forget_cat, visible=False)
    _lay_out_sure(parts, words, "cat")


def _lay_out_sure(parts: Parts, words: Words, what: str) -> None:
    with gr.Column(visible=False) as parts[f"sure_{what}"]:
        gr.HTML(tell(words.sure, good=False))
        parts[f"yes_{what}"] = gr.Button(words.yes, variant="stop")
        parts[f"no_{what}"] = gr.Button(words.no)


def _flowing(language: str) -> str:
    """Give the words of the consent without the ends of lines that a narrow screen has elsewhere."""
    return re.sub(r"(?<!\n)\n(?!\n|train|publish)", " " if language == "en" else "", consent_text(language).strip())


def _lay_out_mine(parts: Parts, words: Words) -> None:
    gr.HTML(f"<h2>{words.permissions}</h2>")
    parts["train_given"] = gr.Checkbox(label=words.train, interactive=True)
    parts["publish_given"] = gr.Checkbox(label=words.publish, interactive=True)
    parts["mine_said"] = _said()
    with gr.Accordion(words.full_text, open=False):
        gr.HTML(f'<div class="full-text">{_flowing(words.language)}</div>')
    parts["take_along"] = gr.Button(words.take_along)
    parts["take_said"] = _said()
    parts["everything"] = _reading(words.take_along_hint, lines=4)
    parts["forget_me"] = gr.Button(words.forget_me)
    _lay_out_sure(parts, words, "me")
    parts["gone_said"] = _said()
