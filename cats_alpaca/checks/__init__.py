"""What a program can say of the quality of stories.

Blocks of stories are examined one by one, in several processes where there is much to do, or on a cluster; what is
left of a story is its line, its lengths, hashes and two signatures: about a kilobyte. Then all of them are compared.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from .. import path
from ..errors import SourceError
from ..exact import Keys
from ..sources import BLOCK_BYTES, Block, count_bytes, find_files, read_blocks
from ..stories import MAX_LINE_BYTES, PACKAGED, STORIES, read_block
from ..writing import whole_file
from . import sameness
from .blocks import OPENING, TEXTS, Part, examine_block
from .rules import RULES, SEVERITIES, Finding, finding

__all__ = ["RULES", "SEVERITIES", "Finding", "Outcome", "check", "examine", "write_clean"]

NEAR, LEAK = 0.5, 0.35
OPENING_SHARES = {"question": 0.01, "answer": 0.02}
PHRASE, PHRASE_SHARE = 15, 0.03
SAMPLE = 5_000
"""From how many answers worn phrases are told, when there are more."""

_PARALLEL_BYTES = 16 << 20
_ARRAYS = ("file", "split", "line", "lengths", "hashes", "openings", "question_signatures", "answer_signatures")

Sources = str | Iterable[str]


@dataclass
class Outcome:
    """What was found.

    Attributes:
        findings: in the order of the files and their lines.
        stories: how many were examined.
        shape: a row for every split and topic: `split`, `topic`, `stories`, the share with a `context`, those of the
            experiences `own` and `others`, and the 5th, 50th and 95th percentile of the characters of `question` and
            `answer`.
    """

    findings: list[Finding]
    stories: int
    shape: list[dict[str, Any]]


def check(
    sources: Sources | None = None,
    *,
    train: Sources | None = None,
    test: Sources | None = None,
    ignore: Iterable[str] = (),
    **reading: object,
) -> list[Finding]:
    """Check stories, and give what was found.

    >>> check() == [finding for finding in check() if finding.severity == "note"]
    True

    Args:
        sources: stories of one split; None, where no train is named either, is the packaged ones.
        train: stories of the train split, which are also compared with those of the test split.
        test: stories of the test split.
        ignore: ids of rules that are not to be looked at.
        **reading: `keys`, `encoding`, `max_line_bytes`, `progress`, as `read_stories` takes them; `engine` and
            `ray_address`, as `build` does: a cluster's nodes get the stories from this machine, which compares what
            they leave of them.

    Raises:
        SourceError: when a source cannot be read. It is read twice, so it cannot be standard input.
        ReleaseError: when a cluster cannot be used.
    """
    return examine(sources, train=train, test=test, ignore=ignore, **reading).findings  # type: ignore[arg-type]


def examine(
    sources: Sources | None = None,
    *,
    train: Sources | None = None,
    test: Sources | None = None,
    ignore: Iterable[str] = (),
    keys: Keys = STORIES,
    encoding: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    progress: Callable[[int], object] | None = None,
    engine: str = "threads",
    ray_address: str | None = None,
) -> Outcome:
    """Check stories as `check` does, and tell their shape, too."""
    if sources is None and train is None:
        train, test = PACKAGED["train"], PACKAGED["test"]
    splits = {"all": sources} if train is None else {"train": train, "test": test}
    files = {split: list(dict.fromkeys(find_files(sources))) for split, sources in splits.items() if sources}
    read = partial(read_blocks, encoding=encoding, max_line_bytes=max_line_bytes, block_bytes=BLOCK_BYTES)
    names = [name for group in files.values() for name in group]
    for name in names:
        if name == "-" or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)):
            raise SourceError(f"{name}: check reads its sources twice; put this one into a file")
    many = count_bytes(names) > _PARALLEL_BYTES
    sample = SAMPLE // 5 if many else SAMPLE  # of each block
    look = partial(examine_block, keys=keys, max_line_bytes=max_line_bytes, sample=sample)

    def blocks(progress: Callable[[int], object] | None = None) -> Iterator[tuple[int, Block]]:
        for number, group in enumerate(files.values()):
            for name in group:
                yield from ((number, block) for block in read(name, progress=progress))

    if engine == "ray":
        from ..cluster import call_all

        parts: Iterator[Part] = call_all(look, blocks(progress), part="checks", address=ray_address)
    else:
        parts = _in_processes(look, blocks(progress), many)
    whole = _joined(parts)
    texts = partial(_texts_of, blocks, keys, max_line_bytes)
    found = [
        *(Finding(p.code, "error", p.file, p.line, "", p.reason) for p in whole.problems),
        *whole.findings,
        *_find_in_ids(whole),
        *_find_sameness(whole, texts),
    ]
    found += _find_in_topics(whole, list(files))
    for number, split in enumerate(files):
        if not (whole.split == number).any():
            message = f"the {split} sources hold no stories" if len(files) > 1 else "the sources hold no stories"
            found.append(Finding("no-stories", "error", ", ".join(files[split]), 0, "", message))
    order = {name: number for number, name in enumerate(names)}
    ignored = set(ignore)
    kept = [one for one in found if one.rule not in ignored]
    kept.sort(key=lambda one: (order.get(one.file, -1), one.line))
    return Outcome(kept, len(whole.line), list(_shape(whole, list(files))))


def write_clean(
    sources: Iterable[str], destination: str, findings: Iterable[Finding], *, encoding: str | None = None
) -> tuple[int, int]:
    """Write the lines on which nothing was found to a UTF-8 JSONL file, as they are; count them, and the others.

    >>> import tempfile
    >>> _, left_out = write_clean([PACKAGED["test"]], tempfile.mkdtemp() + "/clean.jsonl", [])
    >>> left_out
    0
    """
    bad = {(one.file, one.line) for one in findings if one.line}
    read = partial(read_blocks, encoding=encoding, max_line_bytes=MAX_LINE_BYTES, block_bytes=BLOCK_BYTES)
    kept = left_out = 0
    with whole_file(destination) as stream:
        for file in dict.fromkeys(find_files(sources)):
            for block in read(file):
                for line, _, raw in block.lines():
                    text = _decoded(raw, block.encoding) if not block.cut else None
                    if text is None or (file, line) in bad:
                        left_out += 1
                    elif text.strip():
                        kept += 1
                        stream.write(text.removesuffix("\r").encode() + b"\n")
    return kept, left_out


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _in_processes(
    look: Callable[[tuple[int, Block]], Part], blocks: Iterator[tuple[int, Block]], many: bool
) -> Iterator[Part]:
    workers = os.cpu_count() or 1
    if not many or workers == 1:
        yield from map(look, blocks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from _ahead(pool, look, blocks, workers + 1)


def _ahead(
    pool: Executor, look: Callable[[tuple[int, Block]], Part], blocks: Iterator[tuple[int, Block]], count: int
) -> Iterator[Part]:
    pending: list[Future[Part]] = [pool.submit(look, block) for block in islice(blocks, count)]
    while pending:
        part = pending.pop(0).result()
        pending += [pool.submit(look, block) for block in islice(blocks, 1)]
        yield part


def _joined(parts: Iterable[Part]) -> Part:
    whole = Part()
    numbers: dict[str, int] = {}
    random = np.random.default_rng(1)
    for part in parts:
        part.file = part.file + numbers.setdefault(part.files[0], len(numbers))  # not in place: Ray's cannot be changed
        for name in ("problems", "findings", "ids", "topics", "experiences"):
            getattr(whole, name).extend(getattr(part, name))
        for name in _ARRAYS:
            _append(getattr(whole, name), getattr(part, name))
        room = SAMPLE - len(whole.sample)
        whole.sample += part.sample[:room]
        for text in part.sample[room:]:  # later ones take the places of earlier ones, with falling probability
            place = int(random.integers(len(whole.line)))
            if place < SAMPLE:
                whole.sample[place] = text
    whole.files = list(numbers)
    return whole


def _append(array: np.ndarray, more: np.ndarray) -> None:
    """Lengthen an array in place: concatenating all parts in the end would hold everything twice."""
    start = len(array)
    array.resize((start + len(more), *array.shape[1:]), refcheck=False)
    array[start:] = more


def _texts_of(
    blocks: Callable[[], Iterator[tuple[int, Block]]], keys: Keys, max_line_bytes: int, wanted: Iterable[int]
) -> dict[int, pa.RecordBatch]:
    """Read again the stories of some numbers: what was not worth keeping in memory."""
    numbers = np.unique(np.fromiter(wanted, np.int64))
    found: dict[int, pa.RecordBatch] = {}
    start = 0
    for _, block in blocks() if len(numbers) else ():
        stories = read_block(block, keys, max_line_bytes, extras=False).stories
        here = numbers[(numbers >= start) & (numbers < start + stories.num_rows)]
        for number in here.tolist():
            found[number] = {name: sameness.normal(stories[name][number - start].as_py()) for name in TEXTS}
        start += stories.num_rows
    return found


def _finding(whole: Part, number: int, rule: str, message: str) -> Finding:
    return finding(rule, whole.files[whole.file[number]], int(whole.line[number]), whole.ids[number], message)


def _place(whole: Part, number: int) -> str:
    name = f" ({whole.ids[number]})" if whole.ids[number] else ""
    return f"{whole.files[whole.file[number]]}:{whole.line[number]}{name}"


def _find_in_ids(whole: Part) -> Iterator[Finding]:
    retired = set((path() / "stories" / "retired_ids.txt").read_text("utf-8").split())
    first: dict[str, int] = {}
    for number, id_ in enumerate(whole.ids):
        if id_ and first.setdefault(id_, number) != number:
            yield _finding(whole, number, "duplicate-id", f"the id stands at {_place(whole, first[id_])} already")
        if id_ in retired:
            yield _finding(whole, number, "retired-id", "the id was retired")


def _find_sameness(whole: Part, texts: Callable[[Iterable[int]], dict[int, dict[str, str]]]) -> Iterator[Finding]:
    splits = whole.split.astype(np.int64)
    for column, name in enumerate(TEXTS):
        _, first, inverse = np.unique(whole.hashes[:, column], return_index=True, return_inverse=True)
        same = first[inverse]
        for number in np.flatnonzero(same != np.arange(len(same))).tolist():
            kind = "duplicate" if splits[number] == splits[same[number]] else "leak"
            yield _finding(whole, number, f"{kind}-{name}", f"the {name} is that of {_place(whole, int(same[number]))}")
        once = np.unique(same)
        signatures = whole.question_signatures if name == "question" else whole.answer_signatures
        rows = signatures if len(once) == len(same) else signatures[once]
        pairs = once[sameness.likely_pairs(rows, splits[once], NEAR, LEAK)]
        content = texts(pairs.ravel().tolist())
        for number, other, alike in _verified(pairs.tolist(), content, name, splits):
            kind = "near" if splits[number] == splits[other] else "leak"
            message = f"the {name} is {alike:.2f} like that of {_place(whole, other)}"
            yield _finding(whole, number, f"{kind}-{name}", message)
        yield from _find_openings(whole, column, name, texts)
    for _, phrase, count in _longest(sameness.worn_phrases(whole.sample, PHRASE, PHRASE_SHARE)):
        share = f"{count:,} of {len(whole.sample):,} answers" + (" (a sample)" if len(whole.line) > SAMPLE else "")
        yield finding("worn-phrase", "", 0, "", f"“{phrase}” stands in {share}")


def _verified(
    pairs: list[list[int]], content: dict[int, dict[str, str]], name: str, splits: np.ndarray
) -> Iterator[tuple[int, int, float]]:
    """Give the pairs that are truly alike: of each story the one that it is most like, in its split and across."""
    best: dict[tuple[int, bool], tuple[float, int]] = {}
    for other, number in pairs:
        across = bool(splits[number] != splits[other])
        alike = sameness.similarity(content[number][name], content[other][name])
        if alike >= (LEAK if across else NEAR):
            best[number, across] = max(best.get((number, across), (0.0, other)), (alike, other))
    yield from ((number, other, alike) for (number, _), (alike, other) in best.items())


def _find_openings(
    whole: Part, column: int, name: str, texts: Callable[[Iterable[int]], dict[int, dict[str, str]]]
) -> Iterator[Finding]:
    _, first, counts = np.unique(whole.openings[:, column], return_index=True, return_counts=True)
    worn = counts > max(2, OPENING_SHARES[name] * len(whole.line))
    content = texts(first[worn].tolist())
    for number, count in zip(first[worn].tolist(), counts[worn].tolist(), strict=True):
        opening = content[number][name][:OPENING]
        yield _finding(whole, number, "worn-opening", f"{count:,} {name}s begin with “{opening}”")


def _longest(phrases: Iterable[tuple[int, str, int]]) -> Iterator[tuple[int, str, int]]:
    """Of runs that overlap, one after the other in the same text, keep the first."""
    last = ("", -1)
    for text, phrase, count in phrases:
        if not (text == last[1] and phrase[:-1] == last[0][1:]):
            yield text, phrase, count
        last = (phrase, text)


def _find_in_topics(whole: Part, splits: Sequence[str]) -> Iterator[Finding]:
    topics = [{topic for topic, at in zip(whole.topics, whole.split.tolist(), strict=True) if at == n} for n in (0, 1)]
    for topic in sorted(topics[0] - topics[1] - {""}) if len(splits) > 1 else ():
        yield finding("topic-not-in-test", "", 0, "", f"no story of the topic {topic} is in the test split")


def _shape(whole: Part, splits: Sequence[str]) -> Iterator[dict[str, Any]]:
    topics = np.array(whole.topics, dtype=object)
    kinds = np.array(whole.experiences, dtype=object)
    for number, split in enumerate(splits):
        for topic in ["", *sorted(set(whole.topics) - {""})]:
            chosen = (whole.split == number) & ((topics == topic) if topic else True)
            count = int(chosen.sum())
            if count:
                question, answer = (
                    np.percentile(whole.lengths[chosen, at], (5, 50, 95)).astype(int).tolist() for at in (0, 1)
                )
                kind = Counter(kinds[chosen].tolist())
                yield {
                    "split": split,
                    "topic": topic or "all",
                    "stories": count,
                    "context": round(float((whole.lengths[chosen, 2] > 0).mean()), 3),
                    "own": round(kind["own"] / count, 3),
                    "others": round(kind["others"] / count, 3),
                    "question": question,
                    "answer": answer,
                }
