"""What can be said of one story by itself: defects, personal data, language, safety.

Every rule has a pattern that Arrow can look for in a whole batch at once (RE2: no look-around). Only where it is found
does Python look closer; of ordinary stories hardly any need it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

Message = str | None

# ---- patterns, as RE2 writes them

_WARNING = re.compile(
    "危険|危な|中毒|毒|有害|害|禁物|厳禁|禁止|与えな|あげな|やらな|飲ませな|食べさせな|使わな|塗らな|置かな|近づけな|触れさせな|"
    "避け|だめ|ダメ|駄目|いけませ|やめ|控え|捨て|処分|命|しないで|させない|病院|受診|獣医|救急|"
    "toxic|poison|danger|harm|avoid|never|do not|don't|vet",
    re.IGNORECASE,
)
_VET = re.compile("病院|受診|獣医|救急|診察|診て|主治医|先生|vet|clinic|hospital", re.IGNORECASE)

_ENUMERATED = r"(?m:^[ \t]*(?:質問|Q|問)?[ 0-9０-９]+[.．:：)）、][^\n]*(?:[?？]|ください。?|なさい。?)[ \t]*$)"
# Words that stand for an answer that nobody wrote, alone or among signs.
_PLACEHOLDER = r"^[\s\-‐－—_.…・*/\\()（）「」\[\]<>]+$|^[\s\-‐－—_.…・*/\\()（）「」\[\]<>]*(?i:n/?a|none|null|nil|nan|todo|tbd|xxx|no ?output|no ?input|no ?answer|なし|無し|特になし|ありません|未定|未回答|不明|該当なし|入力なし|回答なし|同上|test|テスト)[\s\-‐－—_.…・*/\\()（）「」\[\]<>。．!！]*$"  # noqa: E501
_MARKERS = r"###\s*(?:Instruction|Input|Response|指示|入力|応答|回答)|<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|(?m:^(?:Instruction|Output|Response|指示|出力)\s*[:：])"  # noqa: E501
_ATTACHED = r"(?:添付|下記|以下|次|上記|上|下|この)(?:の|した|している|された)(?:画像|動画|ファイル|リンク|URL|記事|PDF|スクリーンショット)|(?:attached|following|above|below)\s+(?:image|picture|photo|video|file|link|article|pdf|table)|(?:画像|写真|動画|PDF)を(?:添付|貼り付け|アップ)"  # noqa: E501
_LINK = r"https?://|www\.[a-z0-9-]+\.[a-z]"
_ESCAPE = (
    r"\\[ntr\"']|\\u[0-9a-fA-F]{4}|&(?:amp|lt|gt|quot|nbsp|#[0-9]+);|</?(?:br|p|div|span|b|i|a|ul|li)(?:\s[^>]*)?/?>"
)
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f" + "\x80-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
_GARBLED = "\ufffd|[縺繧繝]|[\xc2-\xf4][\x80-\xbfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]"
_REFUSAL = r"(?:AI|人工知能|言語モデル|アシスタント)(?:として|なので|ですので|であり|のため)|(?:お答え|回答|お手伝い|対応)(?:することが|することは|は)?(?:できません|できかねます|いたしかねます)|(?i:as an ai|language model|i'm sorry,? but|i cannot (?:assist|help|answer)|i can't (?:assist|help|answer))"  # noqa: E501
_EMAIL = r"[A-Za-z0-9._%+-]+[@＠][A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
_MANY_DIGITS = r"(?:[0-9０-９][-‐‑–−－ー()（） .]{0,2}){10}"
_ADDRESS = (
    r"(?:〒\s*)?[0-9０-９]{3}[-‐−－ー][0-9０-９]{4}\s*[^\s0-9]{0,4}"
    r"(?:北海道|東京都|大阪府|京都府|[^\s0-9]{2,3}県|[^\s0-9]{1,6}[市区町村])"
)
_API_KEY = r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40,}|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"  # noqa: E501


# ---- a closer look: each gives a message, or None where all is well


def _found(what: str, pattern: str) -> Callable[[str], Message]:
    closer = re.compile(pattern)

    def look(text: str) -> Message:
        found = closer.search(text)
        return f"{what} at character {found.start() + 1:,}" if found else None

    return look


def _placeholder(text: str) -> Message:
    return "the whole of it is a placeholder" if re.search(_PLACEHOLDER, text) else None


def _several_questions(text: str) -> Message:
    questions = re.findall(_ENUMERATED, text)
    return f"it holds {len(questions)} questions" if len(questions) > 1 else None


def _mojibake(text: str) -> Message:
    if "\ufffd" in text:
        return f"it holds a replacement character at character {text.index(chr(0xFFFD)) + 1:,}"
    if len(re.findall("[縺繧繝]", text)) > 2:  # what kana become when UTF-8 is read as Shift JIS
        return "it is UTF-8 that was read as Shift JIS"
    if re.search(_GARBLED, text):
        import ftfy

        return "it was read in a wrong encoding" if ftfy.fix_encoding(text) != text else None
    return None


def _phone_number(text: str) -> Message:
    if not re.search(_MANY_DIGITS, text):
        return None
    from phonenumbers import PhoneNumberMatcher

    found = next(iter(PhoneNumberMatcher(text, "JP")), None)
    return f"it holds a telephone number at character {found.start + 1:,}" if found else None


def _numbers(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"(?<![0-9])[0-9](?:[- ]?[0-9]){11,18}(?![0-9])", unicodedata.normalize("NFKC", text)):
        yield found.start() + 1, re.sub(r"[^0-9]", "", found[0])


def _my_number(text: str) -> Message:
    from stdnum.jp import in_

    places = (at for at, digits in _numbers(text) if len(digits) == 12 and in_.is_valid(digits))
    return next((f"it holds an individual number (My Number) at character {at:,}" for at in places), None)


def _card_number(text: str) -> Message:
    from stdnum import luhn

    places = (at for at, digits in _numbers(text) if len(digits) > 12 and digits[0] in "3456" and luhn.is_valid(digits))
    return next((f"it holds a card number at character {at:,}" for at in places), None)


@cache
def _poison_lines() -> list[str]:
    lines = files(__package__).joinpath("poisons.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@cache
def _poisons() -> re.Pattern[str]:
    entries = [line.partition("\t") for line in _poison_lines()]
    return re.compile(
        "|".join(re.escape(name) + (f"(?![{no}])" if no else "") for name, _, no in entries), re.IGNORECASE
    )


def _poison_without_warning(text: str) -> Message:
    """Look for a name that is nowhere followed by a warning, in its sentence or the next; once is enough."""
    sentences = _sentences(text)
    warned: dict[str, bool] = {}
    for number, sentence in enumerate(sentences):
        warning = bool(_WARNING.search("".join(sentences[number : number + 2])))
        for name in map(str.lower, _poisons().findall(sentence)):
            warned[name] = warned.get(name, False) or warning
    return next((f"it names {name} without a warning" for name in warned if not warned[name]), None)


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[。！？!?\n])", text) if sentence.strip()]


class Rule(NamedTuple):
    """A rule for the texts of some columns: what Arrow looks for, and the closer look at a text that may have it."""

    id: str
    columns: tuple[str, ...]
    pattern: str
    look: Callable[[str], Message]


_ALL = ("question", "answer", "context")


@cache
def _rules() -> tuple[Rule, ...]:
    names = "|".join(re.escape(line.partition("\t")[0]) for line in _poison_lines())
    return (
        Rule("placeholder-answer", ("answer",), _PLACEHOLDER, _placeholder),
        Rule("placeholder-input", ("context",), _PLACEHOLDER, _placeholder),
        Rule("template-marker", _ALL, _MARKERS, _found("it holds a mark of a prompt template", _MARKERS)),
        Rule("merged-instructions", ("question",), _ENUMERATED, _several_questions),
        Rule("asks-for-attachment", ("question",), _ATTACHED, _found("it refers to what is not there", _ATTACHED)),
        Rule("link", _ALL, _LINK, _found("it holds a link", _LINK)),
        Rule("stray-escape", _ALL, _ESCAPE, _found("it holds an escape", _ESCAPE)),
        Rule("control-character", _ALL, _CONTROL, _found("it holds an invisible character", _CONTROL)),
        Rule("mojibake", _ALL, _GARBLED, _mojibake),
        Rule("refusal", ("answer",), _REFUSAL, _found("it refuses", _REFUSAL)),
        Rule("email", _ALL, _EMAIL, _found("it holds an e-mail address", _EMAIL)),
        Rule("phone-number", _ALL, _MANY_DIGITS, _phone_number),
        Rule("address", _ALL, _ADDRESS, _found("it holds a postcode with an address", _ADDRESS)),
        Rule("my-number", _ALL, _MANY_DIGITS, _my_number),
        Rule("card-number", _ALL, _MANY_DIGITS, _card_number),
        Rule("api-key", _ALL, _API_KEY, _found("it holds what looks like an API key", _API_KEY)),
        Rule("poison-without-warning", ("answer",), f"(?i:{names})", _poison_without_warning),
    )


@cache
def _any_of(column: str) -> str:
    return "|".join(f"(?:{rule.pattern})" for rule in _rules() if column in rule.columns)


Found = tuple[int, str, str]
"""A row of a batch, a rule's id and a message."""


def find_in_texts(stories: pa.RecordBatch) -> Iterator[Found]:
    """Find what a question, an answer or a context shows by itself.

    >>> batch = pa.RecordBatch.from_pydict({"question": ["朝です？"], "answer": ["N/A"], "context": [""]})
    >>> list(find_in_texts(batch))
    [(0, 'placeholder-answer', 'answer: the whole of it is a placeholder')]
    """
    for column in _ALL:
        texts = stories[column]
        for row in pc.indices_nonzero(pc.match_substring_regex(texts, _any_of(column))).to_pylist():
            text = texts[row].as_py()
            for rule in _rules():
                message = rule.look(text) if column in rule.columns else None
                if message:
                    yield row, rule.id, f"{column}: {message}"


def find_in_answers(questions: list[str], answers: list[str], topics: list[str]) -> Iterator[Found]:
    """Find what an answer shows beside its question and topic.

    >>> list(find_in_answers(["猫はなぜ夜中に鳴くの？"], ["猫はなぜ夜中に鳴くの？ それは、"], [""]))[0][1]
    'echo'
    """
    for row, (question, answer, topic) in enumerate(zip(questions, answers, topics, strict=True)):
        if len(question) >= _ECHO and question in answer:
            yield row, "echo", "the answer repeats the question"
        if answer[-1:] not in _ENDS and _is_truncated(answer):
            yield row, "truncated", f"the answer ends in “{answer[-8:]}”"
        if topic in ("emergency", "poison") and not _VET.search("".join(_sentences(answer)[:2])):
            yield row, "emergency-without-vet", "the answer's first two sentences name no vet"


_ECHO = 10
_ENDS = frozenset("。！？!?.」』）)】〕〉》…♪♡♥☆★~〜～")


def _is_truncated(answer: str) -> bool:
    """Say whether a text stops in mid-sentence: at a comma or an opening, or without a stop where others have one."""
    if answer[-1] in "、,，・：:（(「『【-ー" or answer.count("```") % 2:
        return True
    lines = answer.split("\n")
    in_list = re.match(r"\s*(?:[・\-*•●○]|[0-9０-９]+[.．)）、])", lines[-1])
    return answer[-1].isalnum() and not in_list and len(lines[-1]) > 25 and "。" in answer
