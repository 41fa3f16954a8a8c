"""The YAML of two cards becomes one, key by key: as text, so that what people wrote stays as they wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import yaml

from ..errors import ReleaseError
from ..formats import SCHEMAS

_OF_A_LICENCE = ("license_name", "license_link")
"""Keys that mean nothing beside another licence than the one that they were written for."""


class Part(NamedTuple):
    """A key of the YAML and its value, the comments above it, and how both are written."""

    key: object
    value: object
    above: str
    text: str


def merge_keys(new: str, old: str) -> str:
    r"""Give the generated YAML with what people wrote into the other.

    That is: keys that are not generated, comments in lines of their own above a key, tags, and configs of theirs.

    >>> old = "# Ours.\nlicense: cc0-1.0\ntags: [towers]\nmine: 7\n"
    >>> print(merge_keys("license: mit\ntags:\n- cats\n", old), end="")
    # Ours.
    license: mit
    tags:
    - cats
    - towers
    mine: 7

    Raises:
        ReleaseError: when one of the two cannot be read.
    """
    try:
        mine, my_end = _parts(new)
        theirs, their_end = _parts(old)
        values, there = ({part.key: part.value for part in parts} for parts in (mine, theirs))
        gone = _OF_A_LICENCE if "license" in values else ()
        added = _added(values, there)
        above = {part.key: part.above for part in theirs}
        lines = [_united(above.get(part.key, ""), part.above) + _with(part, added) for part in mine]
        lines += [part.above + part.text for part in theirs if part.key not in values and part.key not in gone]
        merged = "".join(lines) + _united(their_end, my_end)
        yaml.safe_load(merged)
    except (yaml.YAMLError, RecursionError) as error:
        raise ReleaseError(f"the card's YAML cannot be read ({error}); mend it by hand") from error
    return merged


def foreign_configs(values: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Find the configs in a card's YAML that people added: neither our names nor our files. Give their files' patterns.

    One that is called `default` is none: beside it, `datasets` would refuse ours.

    >>> files = {"train": "towers/*.csv"}
    >>> foreign_configs({"configs": [{"config_name": "towers", "data_files": files}, {"config_name": "chat"}]})
    {'towers': ['towers/*.csv']}
    """
    found = {
        str(config.get("config_name", "default")): list(_patterns(config))
        for config in _list(values.get("configs"))
        if isinstance(config, dict)
    }
    ours = {"default", *SCHEMAS}
    return {name: files for name, files in found.items() if name not in ours and not any(map(_is_ours, files))}


def globbed(pattern: str) -> re.Pattern[str]:
    """Turn a pattern of paths into what matches them: `*` within a folder, `**` through folders.

    >>> [bool(globbed("data/*.csv").fullmatch(path)) for path in ("data/a.csv", "data/a/b.csv")]
    [True, False]
    """
    wild = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(wild.get(word) or re.escape(word) for word in re.split(r"(\*\*/?|\*|\?)", pattern)))


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    folder = f"{config['data_dir']}/" if config.get("data_dir") else ""
    for pattern in list(_strings(config.get("data_files"))) or (["**"] if folder else []):
        yield f"{folder}{pattern}".removeprefix("./").replace("//", "/") if "://" not in pattern else pattern


def _strings(files: object) -> Iterator[str]:
    if isinstance(files, dict):
        files = files["path"] if "path" in files else list(files.values())
    if isinstance(files, list):
        for file in files:
            yield from _strings(file)
    elif files is not None:
        yield str(files)


def _is_ours(pattern: str) -> bool:
    folders = [f"data/{name}/" for name in SCHEMAS]
    paths = [f"{folder}{split}-00000-of-00001.parquet" for folder in folders for split in ("train", "test")]
    return pattern.startswith(tuple(folders)) or any(map(globbed(pattern).fullmatch, paths))


def _added(mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> dict[object, list[object]]:
    """Find the values that people added to keys which are generated."""
    foreign, here = foreign_configs(theirs).keys(), {_name(config) for config in _list(mine.get("configs"))}
    infos = {_name(info) for info in _list(mine.get("dataset_info"))}
    return {
        "tags": [tag for tag in _list(theirs.get("tags")) if tag not in _list(mine.get("tags"))],
        "configs": [
            # The default is ours: `datasets` takes no two.
            {key: value for key, value in config.items() if key != "default"}
            for config in _list(theirs.get("configs"))
            if isinstance(config, dict) and _name(config) in foreign - here
        ],
        "dataset_info": [info for info in _list(theirs.get("dataset_info")) if _name(info) in foreign - infos],
    }


def _name(config: object) -> str:
    return str(config.get("config_name")) if isinstance(config, dict) else ""


def _with(part: Part, added: Mapping[object, list[object]]) -> str:
    """Write a part with some values more."""
    more = added.get(part.key)
    if not more:
        return part.text
    text, value = part.text + _dumped(more), [*_list(part.value), *more]
    return text if _alone(text) == {part.key: value} else _dumped({part.key: value})


def _parts(header: str) -> tuple[list[Part], str]:
    """Cut YAML before its top-level keys; give the parts, and the comments after the last."""
    root = yaml.compose(header, Loader=yaml.SafeLoader)
    if root is None:
        return [], header
    if not isinstance(root, yaml.MappingNode):
        raise yaml.YAMLError("it is no mapping")
    read = yaml.SafeLoader("").construct_document
    pairs = [(read(key), read(value)) for key, value in root.value]
    if root.flow_style:
        return [Part(key, value, "", _dumped({key: value})) for key, value in pairs], ""
    starts = [header.rfind("\n", 0, key.start_mark.index) + 1 for key, _ in root.value]
    cut = [_cut_comments(header[start:end]) for start, end in pairwise([*starts, len(header)])]
    comments = [header[: starts[0]], *(above for _, above in cut)]
    parts = [
        # An anchor may stand in another part, which is not kept: then its value is written in full.
        Part(key, value, above, text if _alone(text) == {key: value} else _dumped({key: value}))
        for (key, value), above, (text, _) in zip(pairs, comments, cut, strict=False)
    ]
    return parts, comments[-1]


def _cut_comments(text: str) -> tuple[str, str]:
    """Cut off the lines of comments at the end: they belong to what follows."""
    lines = text.splitlines(keepends=True)
    at = len(lines)
    while at and (lines[at - 1].startswith("#") or not lines[at - 1].strip()):
        at -= 1
    while at < len(lines) and not lines[at].strip():
        at += 1
    return "".join(lines[:at]), "".join(lines[at:])


def _alone(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _united(theirs: str, mine: str) -> str:
    known = theirs.splitlines()
    return theirs + "".join(line for line in mine.splitlines(keepends=True) if line.rstrip("\n") not in known)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


class _InFull(yaml.SafeDumper):
    """Writes what was written once and referred to again in full each time."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _dumped(value: object) -> str:
    return yaml.dump(value, Dumper=_InFull, allow_unicode=True, sort_keys=False)
