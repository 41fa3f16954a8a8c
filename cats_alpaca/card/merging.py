"""A generated card and one that a person edited become one: hand edits are kept, generated parts are new.

A card is YAML between two `---` lines and a body of blocks. A block is a *section*, which stands between two markers
and belongs to the program, or a *paragraph* (anything else up to a blank line; fenced code stays whole), which belongs
to people. The last line of a card names all blocks that it ever had: so a block that somebody deleted is told from one
that is new, on either side.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import ReleaseError
from .keys import merge_keys

MARK = "<!-- made by cats-alpaca build -->"
"""Stands in every card that we made, and tells such a folder from somebody else's."""

_BEGIN = re.compile(r"<!-- cats-alpaca:begin (\S+)")
_KNOWN = re.compile(r"^<!-- cats-alpaca:known [^:]*: (.*) -->\n?", re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class Block(NamedTuple):
    """A part of a card's body: its key (a section's name, a paragraph's digest), its text, the line ends after it."""

    key: str
    text: str
    gap: str
    section: bool


class Card(NamedTuple):
    """A card, taken apart: the YAML between its `---` lines, its blocks, and the keys of all it ever had."""

    header: str
    blocks: list[Block]
    known: list[str]

    def __str__(self) -> str:
        body = "".join(block.text + (block.gap if len(block.gap) > 1 else "\n\n") for block in self.blocks)
        known = " ".join(dict.fromkeys([*self.known, *(block.key for block in self.blocks)]))
        note = f"<!-- cats-alpaca:known (what you delete stays away, unless you delete its name here): {known} -->\n"
        return (f"---\n{self.header}---\n\n" if self.header else "") + body + note


def section(name: str, text: str) -> str:
    r"""Put a generated part between its markers.

    >>> print(section("load", "Load it so."))
    <!-- cats-alpaca:begin load (made by the program: edit above or below it, not inside) -->
    <BLANKLINE>
    Load it so.
    <BLANKLINE>
    <!-- cats-alpaca:end load -->
    """
    begin = f"<!-- cats-alpaca:begin {name} (made by the program: edit above or below it, not inside) -->"
    return f"{begin}\n\n{text.strip()}\n\n<!-- cats-alpaca:end {name} -->"


def parse(text: str) -> Card:
    r"""Take a card apart.

    >>> card = parse("---\nlicense: mit\n---\n\nMine.\n\n" + section("load", "Load it so.") + "\n")
    >>> card.header, [(block.section, block.text[:5]) for block in card.blocks]
    ('license: mit\n', [(False, 'Mine.'), (True, '<!-- ')])

    Raises:
        ReleaseError: when a section has no end.
    """
    text = text.replace("\r\n", "\n").lstrip("\ufeff")
    header = re.match(r"\s*---[ \t]*\n(.*?)(?:^|\n)---[ \t]*(?:\n|\Z)", text, re.DOTALL)
    body = text[header.end() :] if header else text
    known = [key for keys in _KNOWN.findall(body) for key in keys.split()]
    yaml_text = f"{header[1].rstrip()}\n".lstrip("\n") if header else ""
    return Card(yaml_text, list(_blocks(_KNOWN.sub("", body))), list(dict.fromkeys(known)))


def inner(block: Block) -> str:
    """Give what stands between a section's markers.

    >>> inner(parse(section("load", "Load it so.")).blocks[0])
    'Load it so.'
    """
    return block.text.partition("\n")[2].rpartition("\n")[0].strip()


def merge(generated: str, existing: str) -> str:
    r"""Give the generated card with every hand edit of the existing one.

    What stands outside the markers stays where it is, and so do YAML keys that are not generated, comments above keys,
    tags, and configs of somebody's own files. A section that a person deleted, markers and all, stays away; a section
    that is generated no longer goes. Both cards may have been edited: a paragraph that one of them knew and has no more
    is gone, the others are united.

    >>> old = parse(merge(section("load", "Load it so."), "Mine.\n\n" + section("load", "old")))
    >>> [inner(block) if block.section else block.text for block in old.blocks]
    ['Mine.', 'Load it so.']

    Raises:
        ReleaseError: when a section has no end, or the YAML of the two cannot be read.
    """
    new, old = parse(generated), parse(existing)
    here = {block.key: block for block in new.blocks}
    blocks = [
        here[block.key]._replace(gap=block.gap) if block.key in here else block
        for block in old.blocks
        if block.key in here or not (block.section or block.key in new.known)
    ]
    for at, block in enumerate(new.blocks):
        if block.key not in {placed.key for placed in blocks} and block.key not in old.known:
            before = [placed.key for placed in new.blocks[:at]]
            place = max((i + 1 for i, placed in enumerate(blocks) if placed.key in before), default=0)
            blocks.insert(place, block)
    # A section that the program itself takes away may come back; one that a person took away may not.
    gone = {block.key for block in old.blocks if block.section} - here.keys()
    known = [*(key for key in old.known if key not in gone), *new.known]
    return str(Card(merge_keys(new.header, old.header), blocks, known))


def without(text: str, names: Iterable[str]) -> str:
    """Take some sections out of a card, as if they had never been there.

    >>> "Load" in without(section("load", "Load it so."), ["load"])
    False
    """
    card, names = parse(text), set(names)
    blocks = [block for block in card.blocks if block.key not in names]
    return str(card._replace(blocks=blocks, known=[key for key in card.known if key not in names]))


def _blocks(body: str) -> Iterator[Block]:
    """Cut a body into blocks; of several with one text, each has a key of its own."""
    count: Counter[str] = Counter()
    for block in _cut(body):
        count[block.key] += 1
        yield block if count[block.key] == 1 else block._replace(key=f"{block.key}-{count[block.key]}")


def _cut(body: str) -> Iterator[Block]:
    lines = body.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        start, begin = at, _BEGIN.match(lines[at])
        at = _end_of_section(lines, at, begin[1]) if begin else _end_of_paragraph(lines, at)
        text = "".join(lines[start:at])
        gap_start = at
        while at < len(lines) and not lines[at].strip():
            at += 1
        gap = "\n" * (at - gap_start + text.endswith("\n"))
        text = text.rstrip("\n")
        yield Block(begin[1] if begin else _digest(text), text, gap, bool(begin))


def _end_of_section(lines: list[str], start: int, name: str) -> int:
    for at in range(start + 1, len(lines)):
        if lines[at].startswith(f"<!-- cats-alpaca:end {name} -->"):
            return at + 1
        if _BEGIN.match(lines[at]):
            break
    raise ReleaseError(
        f"the card's section {name!r} has no end: write '<!-- cats-alpaca:end {name} -->' in a line after it, "
        "or delete the section with its marker"
    )


def _end_of_paragraph(lines: list[str], at: int) -> int:
    fence = None
    # A section begins wherever its marker stands: a fence that somebody forgot to close does not swallow it.
    while at < len(lines) and not _BEGIN.match(lines[at]) and (fence or lines[at].strip()):
        if found := _FENCE.match(lines[at]):
            if fence is None:
                fence = found[1]
            elif found[1].startswith(fence):
                fence = None
        at += 1
    return at


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
