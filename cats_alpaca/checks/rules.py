"""What is checked: every rule's id, how grave it is, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("note", "warning", "error")
"""From least to most grave."""


class Finding(NamedTuple):
    """Something that a check found.

    Attributes:
        rule: its stable id.
        severity: `error`, `warning` or `note`.
        file: the source; empty for the sources as a whole.
        line: its line, from 1.
        story: the story's id, if it has one.
        message: what was found, and the next step.
    """

    rule: str
    severity: str
    file: str
    line: int
    story: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else ""
        return f"{where}{self.severity}: {f'{self.story}: ' if self.story else ''}{self.message} [{self.rule}]"


RULES: dict[str, tuple[str, str]] = {
    # defects of Alpaca data, after the classes that the cleaning of Stanford's data found
    "placeholder-answer": ("error", "write an answer, or take the story out"),
    "placeholder-input": ("error", "leave the context out where there is none"),
    "template-marker": ("error", "take the prompt's own words out of the text"),
    "merged-instructions": ("warning", "make a story of each question"),
    "asks-for-attachment": ("warning", "say in words what is to be seen there"),
    "link": ("warning", "say what stands there; a model learns to make links up"),
    "stray-escape": ("warning", "write the character itself"),
    "control-character": ("error", "delete it"),
    "mojibake": ("error", "convert the text again from its true encoding"),
    "echo": ("warning", "let the answer begin with the answer"),
    "refusal": ("warning", "answer, or take the story out"),
    "truncated": ("warning", "finish the sentence"),
    "unbalanced": ("warning", "close it, or delete it"),
    # sameness
    "duplicate-question": ("error", "keep one of the two"),
    "duplicate-answer": ("error", "keep one of the two"),
    "near-question": ("warning", "rewrite one of the two, or take it out"),
    "near-answer": ("warning", "rewrite one of the two, or take it out"),
    "worn-opening": ("warning", "begin some of them in another way"),
    "worn-phrase": ("warning", "say it in other words in some of them"),
    # leaks
    "leak-question": ("error", "move one of the two into the other's split, or take it out"),
    "leak-answer": ("error", "move one of the two into the other's split, or take it out"),
    # personal data
    "email": ("error", "take it out"),
    "phone-number": ("error", "take it out"),
    "address": ("error", "take it out"),
    "my-number": ("error", "take it out"),
    "card-number": ("error", "take it out"),
    "api-key": ("error", "take it out, and revoke it"),
    # language
    "not-japanese": ("warning", "write the answer in Japanese; a third of it should be kana"),
    # shape
    "duplicate-id": ("error", "give one of them a new id"),
    "retired-id": ("error", "give the story a new id; retired ones are never used again"),
    "topic-not-in-test": ("note", "move a story of the topic into the test split"),
    # safety
    "poison-without-warning": ("error", "say in the same sentence or the next that it is dangerous"),
    "emergency-without-vet": ("error", "send to a vet in the first two sentences"),
}
"""Every rule besides the reader's own codes, which are errors: its severity and the next step."""


def finding(rule: str, file: str, line: int, story: str, message: str) -> Finding:
    """Make a finding of a rule, with its severity and next step.

    >>> print(finding("link", "cats.jsonl", 3, "neko-0001", "the answer holds a link at character 17"))
    cats.jsonl:3: warning: neko-0001: the answer holds a link at character 17; say what stands there; a model learns to make links up [link]
    """  # noqa: E501
    severity, step = RULES[rule]
    return Finding(rule, severity, file, line, story, f"{message}; {step}")
