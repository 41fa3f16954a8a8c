"""What only a person can say of a dataset: read from a file, checked, and read back from the card that says it.

| field | what it is |
| --- | --- |
| `title` | one line; without it the folder's name |
| `license`, `license_name`, `license_link` | the Hub's licence identifier; with `other`, the licence's name and address |
| `language`, `tags`, `task_categories`, `source_datasets`, `annotations_creators`, `language_creators`, `multilinguality` | lists, as the Hub knows them |
| `authors` | a list of names; that of a group in braces, as in BibTeX: `"{The Cat Lovers}"` |
| `year`, `version` | of what is published, for the citation; each in quotes |
| `phrases` | a list of texts; the card says how many answers hold each |
| `summary`, `description`, `terms`, `made`, `safety`, `personal_data`, `limits`, `contact`, `citation`, `changes` | Markdown, or `{file: NAME}` for a file beside the config |
"""  # noqa: E501 - a table's row is a line

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import path
from ..errors import ReleaseError
from ..formats import FEEDBACK_CONFIGS
from . import merging

Fields = dict[str, Any]
"""A field's name and its value: a text, or a list of texts."""

ONE_LINE = ("title", "license", "license_name", "license_link")
CITED = ("year", "version")
"""The single lines that stand in the citation."""

ON_TOP = (
    "language",
    "tags",
    "task_categories",
    "source_datasets",
    "annotations_creators",
    "language_creators",
    "multilinguality",
)
"""The lists that stand in the card's YAML."""

LISTS = (*ON_TOP, "authors", "phrases")
PROSE = {
    "summary": "",
    "description": "",
    "terms": "Licence",
    "made": "How it was made",
    "safety": "Safety",
    "personal_data": "Personal data",
    "limits": "Known limits",
    "contact": "Contact",
    "citation": "How to cite",
    "changes": "What changed",
}
"""The fields that are text, and their headings."""

KNOWN = (*ONE_LINE, *CITED, *LISTS, *PROSE)
TAGS = ("alpaca", "instruction-tuning", "qlora", "sft")
"""The tags that every card has."""

PACKAGED = path() / "stories" / "card.yaml"
"""The fields of the packaged stories."""

NOTE = (
    "**This is said of all rows but those with an id `fb-…`.** Real people told these, and consented to training and "
    "to publication.\n\n"
)
"""Stands before what a release with rows from people says of all others."""

NOTED = ("made", "personal_data", "limits")
"""The fields that it stands before."""

BY_PEOPLE = "crowdsourced"
"""What the Hub calls those who wrote such rows."""

CREATORS = ("annotations_creators", "language_creators")

_NOT_IN = {"phrases": ("`", "|"), "authors": ("{", "}", " and ", "\\")}
_IN_LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def read_fields(file: str | Path) -> Fields:
    """Read fields from a YAML or JSON file.

    >>> read_fields(PACKAGED)["license"]
    'cc-by-4.0'

    Raises:
        ReleaseError: when the file cannot be read, holds an unknown field, or a value of the wrong kind.
    """
    found, lines = _parsed(Path(file))
    fields: Fields = {}
    for name, value in found.items():
        where = f"{file}:{lines[name]}" if name in lines else str(file)
        fields |= checked({str(name): _from_file(Path(file), name, value, where)}, where)
    return fields


def _parsed(file: Path) -> tuple[dict[object, object], dict[object, int]]:
    """Read a mapping from a YAML or JSON file, and the line on which each of its keys stands."""
    text = _text_of(file, f"{file}:", "name another --card-config")
    try:
        found, node = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ReleaseError(f"{file}: this is no YAML or JSON ({error}); mend it") from error
    if not isinstance(found, dict) or not isinstance(node, yaml.MappingNode):
        raise ReleaseError(f"{file}: it must hold fields, such as 'title: My stories'; known are {', '.join(KNOWN)}")
    return found, {key.value: key.start_mark.line + 1 for key, _ in node.value}


def _text_of(file: Path, what: str, instead: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ReleaseError(f"{what} it cannot be read ({reason}); {instead}") from error


def checked(fields: Mapping[str, object], where: str = "the card's fields") -> Fields:
    """Give the fields as they go into a card: lists as lists, texts without outer space.

    >>> checked({"language": "ja", "title": " My stories "})
    {'language': ['ja'], 'title': 'My stories'}

    Raises:
        ReleaseError: when there is an unknown field, or a value of the wrong kind.
    """
    if unknown := [str(name) for name in fields if name not in KNOWN]:
        raise ReleaseError(f"{where}: there is no field {unknown[0]!r}; known are {', '.join(KNOWN)}")
    return {
        name: _as_list(name, value, where) if name in LISTS else _as_text(name, value, where)
        for name, value in fields.items()
    }


def told_by(card: str) -> Fields:
    r"""Read back from a card what fields it was made of.

    >>> told_by("---\npretty_name: My stories\nlicense: mit\n---\n")
    {'title': 'My stories', 'license': 'mit'}
    """
    header, blocks, _ = merging.parse(card)
    top = {{"pretty_name": "title"}.get(name, name): value for name, value in (yaml.safe_load(header) or {}).items()}
    sections = {block.key: merging.inner(block) for block in blocks if block.section}
    found = {name: top[name] for name in (*ONE_LINE, *ON_TOP) if name in top}
    if "tags" in found:
        found["tags"] = [tag for tag in found["tags"] if tag not in TAGS]
    if any(config in FEEDBACK_CONFIGS for config in _configs(top)):
        found |= {name: [who for who in found[name] if who != BY_PEOPLE] for name in CREATORS if name in found}
    found |= {
        name: sections[name].removeprefix(f"## {heading}\n").strip().removeprefix(NOTE).strip()
        for name, heading in PROSE.items()
        if name in sections
    }
    found["phrases"] = re.findall(r"^\| `(.+?)` \|", sections.get("phrases", ""), re.MULTILINE)
    cited = {name: from_latex(value) for name, value in _CITED.findall(sections.get("cite", ""))}
    found["authors"] = [name for name in cited.pop("author", "").split(" and ") if name]
    return {name: value for name, value in {**found, **cited}.items() if value}


_CITED = re.compile(r"^ *(author|year|version) = \{(.*)\}", re.MULTILINE)


def _configs(top: Mapping[str, Any]) -> list[object]:
    configs = top.get("configs")
    return [config.get("config_name") for config in configs if isinstance(config, dict)] if configs else []


def to_latex(text: str) -> str:
    r"""Escape what LaTeX takes for more than letters.

    >>> print(to_latex("cats_alpaca & Co."))
    cats\_alpaca \& Co.
    """
    return "".join(_IN_LATEX.get(sign, sign) for sign in text)


def from_latex(text: str) -> str:
    r"""Undo `to_latex`; braces that are not escaped stay.

    >>> print(from_latex(r"{cats\_alpaca} \& Co."))
    {cats_alpaca} & Co.
    """
    signs = {code: sign for sign, code in _IN_LATEX.items()}
    return re.sub("|".join(map(re.escape, signs)), lambda found: signs[found[0]], text)


def _from_file(config: Path, name: object, value: object, where: str) -> object:
    if name not in PROSE or not isinstance(value, dict):
        return value
    if list(value) != ["file"]:
        raise ReleaseError(f"{where}: {name!r} must be a text or {{file: NAME}}, got {value!r}")
    file = config.parent / str(value["file"])
    return _text_of(file, f"{where}: {name!r} names the file {file}, but", "put it there, or write the text itself")


def _as_list(name: str, value: object, where: str) -> list[str]:
    values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value] if value else []
    if wrong := [text for text in values if not isinstance(text, str) or not text.strip() or "\n" in text]:
        raise ReleaseError(f"{where}: {name!r} must be a list of texts, got {wrong[0]!r}")
    if wrong := [text for text in values for sign in _NOT_IN.get(name, ()) if sign in plain(text)]:
        raise ReleaseError(f"{where}: {name!r} cannot hold {wrong[0]!r}; write it without {' '.join(_NOT_IN[name])}")
    return [text.strip() for text in values]


def plain(author: str) -> str:
    """Take a group's name out of its braces.

    >>> plain("{The Cat Lovers}")
    'The Cat Lovers'
    """
    return author[1:-1] if author.startswith("{") and author.endswith("}") else author


def _as_text(name: str, value: object, where: str) -> str:
    if value is not None and not isinstance(value, str):
        quotes = "" if isinstance(value, (list, dict)) else "; write it in quotes"
        raise ReleaseError(f"{where}: {name!r} must be a text, got {value!r}{quotes}")
    text = (value or "").strip()
    if name in (*ONE_LINE, *CITED) and "\n" in text:
        raise ReleaseError(f"{where}: {name!r} must be one line, got {text!r}")
    if "<!-- cats-alpaca:" in text:
        raise ReleaseError(f"{where}: {name!r} holds '<!-- cats-alpaca:', which marks the parts of a card; reword it")
    return text
