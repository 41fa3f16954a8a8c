"""The card itself: templates filled with numbers and fields, and code that names where the data lie."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import jinja2
import yaml

from .. import recipes
from ..formats import CONFIGS, DEFAULT_CONFIG, FEEDBACK_CONFIGS
from ..recipes import guide
from . import fields as known_fields
from . import merging
from .facts import Folder, SplitFacts
from .fields import NOTE, NOTED, PROSE, Fields, plain, to_latex, told_by
from .header import header
from .numbers import Numbers, example
from .tokens import STEP, Tokens, available, enough, measure

_TYPICAL = "Llama 3"
_SHOWN_CHARACTERS = 600


@dataclass(frozen=True)
class Address:
    """Where the rows lie: in a folder, or in a repository of the Hub, at a revision if one is given."""

    name: str
    hub: bool = False
    revision: str | None = None

    @property
    def pinned(self) -> str:
        """What `load_dataset` takes besides the name."""
        return f', revision="{self.revision}"' if self.revision else ""

    @property
    def root(self) -> str:
        """What stands before a file's path."""
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://datasets/{self.name}{revision}" if self.hub else self.name

    @property
    def key(self) -> str:
        """A name for BibTeX."""
        return re.sub(r"\W+", "_", self.name.rpartition("/")[2], flags=re.ASCII).strip("_") or "dataset"


def render(folder: Folder, facts: dict[str, dict[str, SplitFacts]], numbers: Numbers, name: str, fields: Fields) -> str:
    """Write the card of a release folder.

    Args:
        folder: where the Parquet files are.
        facts: what `read_facts` says of them.
        numbers: what their stories count up to, with the fields' phrases.
        name: what the folder is called in the code that loads it.
        fields: what its owner says of it.
    """
    measured = measure(folder) if available() else None
    return compose(facts, numbers, measured, example(folder), name, fields)


def compose(
    facts: dict[str, dict[str, SplitFacts]],
    numbers: Numbers,
    tokens: Tokens | None,
    row: dict[str, dict[str, Any]],
    name: str,
    fields: Fields,
) -> str:
    """Fill the templates: the YAML on top, then the sections."""
    fields = {
        **dict.fromkeys(known_fields.KNOWN),
        "title": name,
        **{key: value for key, value in fields.items() if value},
    }
    at, splits, lengths = Address(name), facts[DEFAULT_CONFIG], _lengths(tokens)
    feedback = bool(facts.keys() & FEEDBACK_CONFIGS.keys())
    body = _fill(
        "card.md",
        mark=merging.MARK,
        fields=fields,
        headings=PROSE,
        facts=facts,
        feedback=feedback,
        note_on=lambda field: NOTE if feedback and field in NOTED else "",
        numbers=numbers,
        tokens=tokens,
        typical=_TYPICAL,
        step=STEP,
        enough=enough,
        fitting=_fitting,
        recipe_list=list(recipes.RECIPES.values()),
        splits=splits,
        default=DEFAULT_CONFIG,
        default_bytes=sum(found.file_bytes for found in splits.values()),
        row=_shortened(row),
        shown={config: _as_json(found) for config, found in row.items()},
        load=load_section(at, list(splits), splits["train"].files),
        recipes=recipes_section(
            at, {split: found.rows for split, found in splits.items()}, guide.recipe_length(lengths)
        ),
        guide=guide.render(splits["train"].rows, lengths, "test" in splits),
        licence=licence_section(fields),
        cite=cite_section(at, fields),
    )
    card = merging.parse(f"---\n{header(facts, fields)}---\n\n{body}")
    return str(card._replace(blocks=[block._replace(gap="\n\n") for block in card.blocks]))


def addressed(text: str, repo_id: str, revision: str | None = None) -> str:
    """Give a card whose code names a repository of the Hub: ready to be copied from there.

    Only the program's sections change. It does not matter what they named before.

    Raises:
        ReleaseError: when a section of the card has no end.
    """
    at, card = Address(repo_id, True, revision), merging.parse(text)
    top = yaml.safe_load(card.header)
    splits = {split["name"]: split["num_examples"] for split in top["dataset_info"][0]["splits"]}
    told = told_by(text)
    again: dict[str, Callable[[str], str]] = {
        "load": lambda old: load_section(at, list(splits), _count_files(old)),
        "recipes": lambda old: recipes_section(at, splits, length_in(old)),
        "licence": lambda old: licence_section(told),
        "cite": lambda old: cite_section(at, told),
    }
    blocks = [
        block._replace(text=merging.section(block.key, again[block.key](block.text)))
        if block.section and block.key in again
        else block
        for block in card.blocks
    ]
    return str(card._replace(blocks=blocks))


def load_section(at: Address, splits: list[str], files: int) -> str:
    r"""Write how to load the rows.

    >>> '    "me/mine",\n    "alpaca",\n    split="train",\n    revision="v1",\n' in load_section(
    ...     Address("me/mine", hub=True, revision="v1"), ["train"], 1
    ... )
    True
    """
    return _fill("load.md", at=at, splits=splits, files=files, configs=list(CONFIGS), default=DEFAULT_CONFIG)


def recipes_section(at: Address, splits: Mapping[str, int], length: int = guide.LENGTH) -> str:
    """Write which trainer takes which config, and the whole recipe of each.

    >>> "- **Axolotl** (`alpaca`, version " in recipes_section(Address("mine"), {"train": 7})
    True

    Args:
        at: where the rows lie.
        splits: the number of rows of each split.
        length: how many tokens of a row the recipes keep.
    """
    texts = {
        recipe.title: recipes.render(name, at.name, None, at.revision, splits["train"], "test" in splits, length)
        for name, recipe in recipes.RECIPES.items()
    }
    languages = {"py": "python", "sh": "sh", "yaml": "yaml"}
    return _fill(
        "recipes.md",
        recipes=recipes.RECIPES,
        texts=texts,
        languages=languages,
        ask=recipes.render_ask(at.name, at.revision, "test" in splits),
        only_seen=any(recipe.seen for recipe in recipes.RECIPES.values()),
        test="test" in splits,
    )


def _lengths(tokens: Tokens | None) -> dict[str, tuple[int, int, int]]:
    lengths = tokens.lengths if tokens else {}
    return {name: (found.at(50), found.at(95), found.at(100)) for name, found in lengths.items()}


def _fitting(tokens: Tokens) -> dict[int, list[str]]:
    """Name the tokenizers by the `max_length` that cuts no row."""
    lengths = {name: enough(found) for name, found in tokens.lengths.items()}
    return {
        length: [name for name, own in lengths.items() if own == length] for length in sorted(set(lengths.values()))
    }


def licence_section(fields: Fields) -> str:
    """Write under what licence the rows are, where their owner did not write it.

    >>> "The rows are under `mit`." in licence_section({"license": "mit"})
    True
    """
    name = fields.get("license_name") or fields.get("license")
    return _fill("licence.md", license=name and str(name), link=fields.get("license_link"))


def cite_section(at: Address, fields: Fields) -> str:
    r"""Write who made the dataset, and how to cite it.

    >>> print(cite_section(Address("me/mine", hub=True), {"title": "My A_B", "authors": ["Ann Lee", "{The B Group}"]}))
    ## Who made it, and how to cite it
    <BLANKLINE>
    Ann Lee, The B Group.
    Questions and corrections: the [Community tab](https://huggingface.co/datasets/me/mine/discussions).
    <BLANKLINE>
    ```bibtex
    @misc{mine,
      title = {{My A\_B}},
      author = {Ann Lee and {The B Group}},
      howpublished = {\url{https://huggingface.co/datasets/me/mine}},
    }
    ```
    <BLANKLINE>
    """
    said = {name: fields.get(name) for name in ("year", "version")}
    authors = [plain(author) for author in fields.get("authors") or []]
    return _fill("cite.md", at=at, authors=authors, bibtex=_bibtex(at, fields), **said)


def _bibtex(at: Address, fields: Fields) -> str:
    authors = [
        f"{{{to_latex(plain(author))}}}" if plain(author) != author else to_latex(author)
        for author in fields.get("authors") or []
    ]
    entries = {
        "title": f"{{{to_latex(fields['title'])}}}",
        "author": " and ".join(authors),
        "year": to_latex(fields.get("year") or ""),
        "version": to_latex(fields.get("version") or ""),
        "note": f"Revision {to_latex(at.revision)}" if at.revision else "",
        "howpublished": f"\\url{{https://huggingface.co/datasets/{at.name}}}" if at.hub else "",
    }
    lines = [f"  {name} = {{{value}}},\n" for name, value in entries.items() if value]
    return f"@misc{{{at.key},\n{''.join(lines)}}}"


def _count_files(load: str) -> int:
    found = re.search(r"-of-(\d+)\.parquet", load)
    return int(found[1]) if found else 1


def length_in(text: str) -> int:
    """Give how many tokens of a row the recipes in a text keep.

    >>> length_in("max_length=4096,"), length_in("")
    (4096, 2048)
    """
    found = re.search(r"\bmax_length=(\d+)", text)
    return int(found[1]) if found else guide.LENGTH


def _fill(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(values)


@lru_cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(  # noqa: S701 - it makes Markdown; what is foreign is escaped where it stands
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "thousands": "{:,}".format,
        "inline": _inline,
        "cell": lambda text: "<br>".join(map(_inline, text.split("\n"))),
    }
    templates.globals |= {"section": _section, "n": "{:,}".format, "share": _share, "size": _size}
    return templates


def _section(name: str, caller: Callable[[], str]) -> str:
    return f"{merging.section(name, caller())}\n"


def _inline(text: str) -> str:
    r"""Keep a text from being more than letters in Markdown.

    >>> print(_inline("a|b <i> *c*"))
    a\|b \<i\> \*c\*
    """
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _share(part: int, whole: int) -> str:
    """Say a part in percent.

    >>> _share(1, 8)
    '12.5 %'
    """
    return f"{100 * part / whole:.1f} %"


def _size(count: int) -> str:
    """Say a number of bytes so that one can grasp it.

    >>> _size(999), _size(412_754), _size(5_000_000_000)
    ('999 bytes', '413 kB', '5 GB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def _as_json(row: dict[str, Any]) -> str:
    text = json.dumps(_shortened(row), ensure_ascii=False, indent=2)
    return text.replace("<!--", "\\u003c!--").replace("```", "\\u0060" * 3)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    text = cast("str", value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters in all)"
