"""The page in a browser: both dialogues, on a desk and on a telephone, by hand and by keyboard, read by axe."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_support import PASSWORD, Model, Serve, Served, new_people

from cats_alpaca import feedback
from cats_alpaca.feedback.page.words import EN, JA, Words

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

CHROMIUM = shutil.which("chromium")
PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
SIZES = {"desk": {"width": 1280, "height": 900}, "telephone": {"width": 390, "height": 844}}
PICTURES = os.environ.get("CATS_ALPACA_PICTURES", "")
"""A folder for pictures of what the tests see, to look at."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium: apt-get install chromium fonts-noto-cjk"),
    pytest.mark.skipif(not PLAYWRIGHT, reason="there is no playwright: pip install 'cats_alpaca[test]'"),
    # Playwright leaves its pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Open the page; whatever it asks of another machine, or complains of, fails the test."""
    faults: list[str] = []
    contexts: list[BrowserContext] = []

    def _visit(page: Served, size: str = "desk", path: str = "/", name: str = "", **options: Any) -> Page:
        context = chromium.new_context(viewport=SIZES[size], locale="ja-JP", has_touch=size == "telephone", **options)
        contexts.append(context)
        tab: Page = context.new_page()
        tab.set_default_timeout(60_000)
        tab.on("request", lambda one: faults.extend([] if is_here(one.url, page.url) else [one.url]))
        tab.on("dialog", lambda dialog: faults.append(dialog.message))
        tab.goto(f"{page.url}{path}")
        if name:
            tab.locator("input").nth(0).fill(name)
            tab.locator("input").nth(1).fill(PASSWORD)
            tab.keyboard.press("Enter")
        tab.get_by_role("tab").first.wait_for()
        return tab

    yield _visit
    for context in contexts:
        context.close()
    assert faults == []


def is_here(url: str, own: str) -> bool:
    return url.startswith((f"{own}/", "data:", "blob:"))


def look_at(tab: Page, name: str) -> None:
    """Keep a picture to look at, and see that nothing is wider than the screen."""
    wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    if PICTURES:
        tab.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)


def go(tab: Page, name: str) -> None:
    tab.get_by_role("tab", name=name, exact=True).click()


def press(tab: Page, name: str) -> None:
    tab.get_by_role("button", name=name, exact=True).click()


def note(tab: Page, words: Words, **texts: str) -> None:
    go(tab, words.write)
    for name, text in texts.items():
        tab.get_by_label(getattr(words, name), exact=True).fill(text)
    press(tab, words.keep)
    tab.get_by_text(words.kept).wait_for()


def ask(tab: Page, words: Words, question: str, feeling: str = "") -> None:
    go(tab, words.ask)
    tab.get_by_label(words.question, exact=True).fill(question)
    tab.get_by_label(words.feeling_now, exact=True).fill(feeling)
    press(tab, words.send)


@pytest.mark.parametrize("size", SIZES)
def test_the_first_dialogue_the_cats_own_past(serve: Serve, chat_model: Model, visit: Any, size: str) -> None:
    chat_model.answer = "二年前の秋も同じでしたね。今は年を重ねています。きょう受診しましょう。"
    page = serve("--model-url", chat_model.url)
    tab = visit(page, size)
    past = {"seen": "夜からくしゃみが続き、元気もない。", "done": "翌朝に受診", "outcome": "八日目に回復"}
    note(tab, JA, cat_name="こはる", date="2024-11-20", **past)
    look_at(tab, f"{size}-1-written")
    assert tab.get_by_label(JA.seen, exact=True).input_value() == ""
    ask(tab, JA, "こはるがくしゃみをしています。いつもより元気がないようです。", "不安です")
    tab.get_by_text(JA.answered).wait_for()
    own = tab.get_by_label(JA.own).input_value()
    assert own == "2024年11月20日　夜からくしゃみが続き、元気もない。翌朝に受診。→八日目に回復。"
    assert chat_model.asked[0].endswith(f"{own}\nいまの気持ち：不安です")
    assert tab.get_by_label(JA.answer).input_value() == chat_model.answer
    assert not tab.get_by_label(JA.others).is_visible()
    look_at(tab, f"{size}-2-answered")
    tab.get_by_label(JA.down).check()
    better = "二年前の秋と同じ始まりですね。今は抵抗力も落ちています。きょう受診しましょう。"
    tab.get_by_label(JA.correction).fill(better)
    press(tab, JA.judge)
    tab.get_by_text(JA.judged).wait_for()
    with feedback.open_store(page.store) as store:
        [who] = feedback.find_contributors(store)
        [turn] = feedback.turns(store, who)
    assert (turn.answer, turn.model, turn.verdict, turn.correction) == (chat_model.answer, "neko", "down", better)
    go(tab, JA.look)
    picture = tab.get_by_role("img", name="2024-11-20")
    picture.wait_for()
    assert "できごと 1 件、質問 1 件" in (picture.get_attribute("alt") or "")
    look_at(tab, f"{size}-3-looked")


@pytest.mark.parametrize("size", SIZES)
def test_the_second_dialogue_what_others_lived_through(
    serve: Serve, chat_model: Model, visit: Any, tmp_path: Path, size: str
) -> None:
    people = new_people(tmp_path, "hanako", "taro")
    with feedback.open_store(tmp_path / "cats.sqlite") as store:
        lived = {"seen": "一日に二回ほどくしゃみ", "done": "サプリメントを足した", "outcome": "一週間で治った"}
        feedback.add(store, people["taro"], "とら", date="2025-05-03", shared=True, **lived)
        feedback.add(store, people["taro"], "とら", "くしゃみ。これは秘密", date="2025-06-03")
    chat_model.answer = "仲間の子は、サプリメントを足して一週間で治りました。まずは様子を見ましょう。"
    page = serve("--login", "people.txt", "--model-url", chat_model.url)
    tab = visit(page, size, name="hanako")
    assert not tab.get_by_role("tab", name=JA.manage, exact=True).is_visible()
    tab.get_by_label(JA.cat_name, exact=True).fill("こはる")
    ask(tab, JA, "くしゃみをしています。一日に二回くらいです。")
    tab.get_by_text(JA.answered).wait_for()
    # Of others no more than the month is told.
    assert tab.get_by_label(JA.others).input_value() == (
        "2025年5月　一日に二回ほどくしゃみ。サプリメントを足した。→一週間で治った。"
    )
    assert tab.get_by_label(JA.own).input_value() == JA.nothing
    look_at(tab, f"{size}-4-others")
    tab.get_by_label(JA.up).check()
    press(tab, JA.judge)
    tab.get_by_text(JA.judged).wait_for()
    assert "秘密" not in tab.content() + "".join(chat_model.asked)
    with feedback.open_store(page.store) as store:
        [turn] = feedback.turns(store, people["hanako"])
    assert (turn.verdict, turn.correction) == ("up", "")
    tab.get_by_role("link", name=JA.sign_out).click()
    tab.locator("input[type=password]").wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_permissions_taking_along_and_taking_back(serve: Serve, visit: Any, size: str) -> None:
    page = serve()
    tab = visit(page, size, "/en")
    tab.wait_for_timeout(500)
    assert tab.evaluate("scrollY") == 0  # it opens at its top
    note(tab, EN, cat_name="Mike", seen="five sneezes since morning")
    ask(tab, EN, "Mike sneezes again. What shall I do?")
    tab.get_by_text(EN.asked).wait_for()
    assert tab.get_by_text(EN.no_model).is_visible()
    tab.get_by_label(EN.correction).fill("Watch whether she eats, and see the vet tomorrow.")
    press(tab, EN.judge)
    tab.get_by_text(EN.judged).wait_for()
    go(tab, EN.mine)
    tab.get_by_label(EN.train).check()
    tab.get_by_text(EN.not_both).wait_for()
    tab.get_by_label(EN.publish).check()
    tab.get_by_text(EN.both_given).wait_for()
    tab.get_by_label(EN.publish).uncheck()
    tab.get_by_text(EN.not_both).wait_for()
    with tab.expect_download() as download:
        press(tab, EN.take_along)
    assert Path(download.value.path()).read_text("utf-8").count("sneezes") == 3
    look_at(tab, f"{size}-5-mine")
    tab.reload()
    go(tab, EN.mine)
    tab.get_by_text(EN.not_both).wait_for()
    assert tab.get_by_label(EN.train).is_checked()
    assert not tab.get_by_label(EN.publish).is_checked()
    go(tab, EN.look)
    tab.get_by_label(EN.experience).check()
    tab.get_by_label(EN.details).wait_for()
    press(tab, EN.forget)
    tab.get_by_role("button", name=EN.yes).filter(visible=True).click()
    tab.get_by_text(EN.forgotten.format(count=1)).wait_for()
    assert tab.evaluate(_IN_VIEW)
    look_at(tab, f"{size}-6-forgotten")
    with feedback.open_store(page.store) as store:
        [who] = feedback.find_contributors(store)
        assert feedback.experiences(store, who) == []
    go(tab, EN.mine)
    press(tab, EN.forget_me)
    tab.get_by_role("button", name=EN.yes).filter(visible=True).click()
    tab.get_by_text(EN.gone).wait_for()
    with feedback.open_store(page.store) as store:
        assert feedback.find_contributors(store) == []


def test_no_request_overtakes_another(serve: Serve, visit: Any) -> None:
    """What is allowed last, or taken back, is what stands."""
    page = serve()
    tab = visit(page, path="/en")
    go(tab, EN.mine)
    held: list[Any] = []
    tab.route("**/run/predict*", lambda route: route.continue_() if held else held.append(route))
    tab.get_by_label(EN.train).check()
    tab.get_by_label(EN.publish).check()
    tab.wait_for_timeout(1000)
    held[0].continue_()
    tab.get_by_text(EN.both_given).wait_for()
    tab.wait_for_timeout(500)
    assert tab.get_by_text(EN.both_given).is_visible()
    with feedback.open_store(page.store) as store:
        [who] = feedback.find_contributors(store)
        assert all(one.given for one in feedback.consents(store, who).values())


_IN_VIEW = """() => [...document.querySelectorAll(".said")].some(one => {
    const box = one.getBoundingClientRect();
    return one.innerText && box.height && box.top >= 0 && box.bottom <= innerHeight;
})"""


def test_nothing_typed_is_lost_on_an_error(serve: Serve, chat_model: Model, visit: Any) -> None:
    chat_model.answer = None
    page = serve("--model-url", chat_model.url)
    tab = visit(page, "telephone")
    long = "くしゃみ" * 300
    tab.get_by_label(JA.cat_name, exact=True).fill("ミケ")
    tab.get_by_label(JA.seen, exact=True).fill(long)
    press(tab, JA.keep)
    tab.get_by_text("1,200 文字").wait_for()
    assert tab.get_by_label(JA.seen, exact=True).input_value() == long
    assert tab.get_by_label(JA.cat_name, exact=True).input_value() == "ミケ"
    huge = "あ" * 700_000  # more than a request may have
    tab.get_by_label(JA.seen, exact=True).fill(huge)
    press(tab, JA.keep)
    tab.get_by_role("alert").filter(has_text=JA.failed).wait_for()
    assert tab.get_by_label(JA.seen, exact=True).input_value() == huge
    ask(tab, JA, "鳴きやみません。")
    tab.get_by_text(JA.model_fails).wait_for()
    assert tab.get_by_label(JA.question, exact=True).input_value() == "鳴きやみません。"
    look_at(tab, "telephone-7-no-answer")
    chat_model.answer = "だっこしてみましょう。"
    press(tab, JA.again)
    tab.get_by_text(JA.answered).wait_for()
    assert not tab.get_by_role("alert").is_visible()
    page.process.terminate()
    page.process.wait()
    tab.get_by_label(JA.correction).fill("遊びましょう。")
    press(tab, JA.judge)
    tab.get_by_role("alert").filter(has_text=JA.failed).wait_for()
    look_at(tab, "telephone-8-no-server")
    assert tab.get_by_label(JA.correction).input_value() == "遊びましょう。"
    serve("--port", page.url.rpartition(":")[2])  # and when it is there again, the same button does it
    press(tab, JA.judge)
    tab.get_by_text(JA.judged).wait_for()
    assert not tab.get_by_role("alert").is_visible()
    with feedback.open_store(page.store) as store:
        [turn] = feedback.turns(store, feedback.find_contributors(store)[0])
    assert turn.correction == "遊びましょう。"


EVIL = (
    '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
    "![a](https://evil.example/a.png)[b](javascript:window.hit=1)<a href='javascript:window.hit=1'>c</a>"
    "${window.hit=1}{{window.hit=1}}$$\\href{javascript:window.hit=1}{d}$$"
)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_script_in_any_field_is_only_text(
    serve: Serve, chat_model: Model, visit: Any, tmp_path: Path, language: str
) -> None:
    """In every field, by its owner, by another of the group, and by the model."""
    words = JA if language == "ja" else EN
    people = new_people(tmp_path, "hanako", "taro")
    chat_model.answer = f"くしゃみ {EVIL}"
    page = serve("--login", "people.txt", "--model-url", chat_model.url, "--maintainer", "taro")
    evil_name = "<img src=x onerror=window.hit=1>"  # a cat's name is short
    for name in ("taro", "hanako"):
        tab = visit(page, path="/" if language == "ja" else "/en", name=name)
        tab.get_by_label(words.cat_name, exact=True).fill(evil_name)
        tab.get_by_label(words.group).check()
        note(tab, words, **dict.fromkeys(("seen", "done", "outcome", "feeling"), f"くしゃみ {EVIL}"))
        tab.get_by_role("radio", name=evil_name).wait_for()
        ask(tab, words, f"くしゃみ {EVIL}", EVIL)
        tab.get_by_text(words.answered).wait_for()
        assert EVIL[:20] in tab.get_by_label(words.own).input_value()
        assert EVIL[:20] in tab.get_by_label(words.answer).input_value()
        tab.get_by_label(words.down).check()
        tab.get_by_label(words.correction).fill(EVIL)
        press(tab, words.judge)
        tab.get_by_text(words.judged).wait_for()
        go(tab, words.look)
        for kind in (words.experience, words.turn):
            tab.get_by_role("radio", name=f"{kind}：").check()
            tab.get_by_label(words.details).wait_for()
            tab.wait_for_timeout(300)
        go(tab, words.mine)
        with tab.expect_download():
            press(tab, words.take_along)
        if name == "taro":
            go(tab, words.manage)
            press(tab, words.export)
            tab.get_by_text(words.exported.format(folder=str(tmp_path / "feedback-data"))).wait_for()
        assert tab.evaluate("window.hit") is None
        assert tab.locator("img[src=x], a[href^=javascript], img[src*=evil], script:text('window.hit')").count() == 0
    assert len(people) == 2


def test_the_keyboard_alone_suffices(serve: Serve, visit: Any) -> None:
    """Nothing is clicked: what is wanted is reached with Tab, chosen with arrows and space, pressed with Enter."""
    page = serve()
    tab = visit(page, "desk")

    def reach(name: str) -> None:
        for _ in range(60):
            if name in str(tab.evaluate(_FOCUSED)):
                return
            tab.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached by Tab")

    def type_in(name: str, text: str) -> None:
        reach(name)
        tab.keyboard.insert_text(text)

    tab.get_by_label(JA.cat_name, exact=True).wait_for()
    type_in(JA.cat_name, "ミケ")
    type_in(JA.seen, "くしゃみが二回")
    reach(JA.only_me)
    tab.keyboard.press("ArrowRight")
    reach(JA.keep)
    tab.keyboard.press("Enter")
    tab.get_by_text(JA.kept).wait_for()
    tab.evaluate("document.activeElement.blur()")
    reach(f"tab:{JA.ask}")
    tab.keyboard.press("Enter")
    type_in(JA.question, "くしゃみをしています。")
    reach(JA.send)
    tab.keyboard.press("Enter")
    tab.get_by_text(JA.asked).wait_for()
    type_in(JA.correction, "様子を見ましょう。")
    reach(JA.judge)
    tab.keyboard.press("Enter")
    tab.get_by_text(JA.judged).wait_for()
    for name in (JA.look, JA.mine):
        reach(f"tab:{name}")
        tab.keyboard.press("Enter")
    reach(JA.train)
    tab.keyboard.press("Space")
    reach(JA.publish)
    tab.keyboard.press("Space")
    tab.get_by_text(JA.both_given).wait_for()
    reach(f"tab:{JA.look}")
    tab.keyboard.press("Enter")
    reach(JA.experience)
    tab.keyboard.press("Space")
    tab.get_by_label(JA.details).wait_for()
    reach(JA.forget)
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name=JA.yes).filter(visible=True).wait_for()
    reach(JA.yes)
    tab.keyboard.press("Enter")
    tab.get_by_text(JA.forgotten.format(count=1)).wait_for()
    with feedback.open_store(page.store) as store:
        [who] = feedback.find_contributors(store)
        assert feedback.experiences(store, who) == []
        assert [one.correction for one in feedback.turns(store, who)] == ["様子を見ましょう。"]
        assert all(one.given for one in feedback.consents(store, who).values())


_FOCUSED = """() => {
    const one = document.activeElement;
    if (one === document.body) return "";
    const label = one.closest("label");
    return (one.role === "tab" || one.getAttribute("role") === "tab" ? "tab:" : "") + (label || one).innerText;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/en"])
def test_axe_finds_no_serious_fault(serve: Serve, chat_model: Model, visit: Any, scheme: str, path: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    words = JA if path == "/" else EN
    page = serve("--model-url", chat_model.url)
    tab = visit(page, "telephone", path, color_scheme=scheme)
    found: dict[str, list[str]] = {}

    def judge(name: str) -> None:
        tab.wait_for_timeout(400)  # colours fade in
        look_at(tab, f"axe-{scheme}-{words.language}-{name}")
        for one in Axe().run(tab).response["violations"]:
            if one["impact"] in ("serious", "critical"):
                found[f"{name}: {one['id']}"] = [node["html"][:300] for node in one["nodes"]]

    judge("empty")
    note(tab, words, cat_name="ミケ", seen="くしゃみ")
    judge("written")
    ask(tab, words, "くしゃみをしています。")
    tab.get_by_text(words.answered).wait_for()
    judge("answered")
    go(tab, words.look)
    tab.get_by_label(words.experience).check()
    tab.get_by_label(words.details).wait_for()
    press(tab, words.forget)
    tab.get_by_role("button", name=words.yes).filter(visible=True).wait_for()
    judge("look")
    go(tab, words.mine)
    tab.get_by_role("button", name=words.full_text).click()
    press(tab, words.forget_me)
    tab.get_by_role("button", name=words.yes).filter(visible=True).wait_for()
    judge("mine")
    go(tab, words.manage)
    judge("manage")
    assert found == {}
    assert tab.evaluate("document.documentElement.lang") == words.language


def test_what_is_pressed_is_large_enough_for_a_thumb(serve: Serve, visit: Any) -> None:
    """44 by 44 CSS pixels, as the Web Content Accessibility Guidelines 2.2 have it (2.5.5)."""
    page = serve()
    for path, words in (("/", JA), ("/en", EN)):
        tab = visit(page, "telephone", path)
        for name in (words.write, words.ask, words.look, words.mine, words.manage):
            go(tab, name)
            tab.wait_for_timeout(300)
            small = tab.evaluate(
                """() => [...document.querySelectorAll("button, .wrap label, header a")].filter(one => {
                    const box = one.getBoundingClientRect();
                    return one.checkVisibility({visibilityProperty: true}) && box.width
                        && (box.height < 44 || box.width < 44);
                }).map(one => one.outerHTML.slice(0, 200))"""
            )
            assert small == []
