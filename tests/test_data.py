"""The packaged stories keep the rules by which they were written."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from cats_alpaca.stories import PACKAGED

# The weight of each topic: how many of 645 stories.
WEIGHTS = {
    "food": 60, "water": 15, "litter": 45, "respiratory": 25, "digestive": 30, "urinary": 25, "skin-coat": 25,
    "teeth-mouth": 15, "eyes-ears": 15, "chronic": 30, "emergency": 30, "poison": 25, "kitten": 35, "senior": 30,
    "farewell": 15, "behaviour": 50, "many-cats": 30, "home": 30, "care": 20, "vet": 30, "life-events": 25,
    "adoption": 20, "bond": 20,
}  # fmt: skip
SPLITS = {
    split: [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()] for split, file in PACKAGED.items()
}
STORIES = [story for stories in SPLITS.values() for story in stories]


def normal(text: str) -> str:
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def runs(text: str, length: int) -> set[str]:
    return {text[at : at + length] for at in range(len(text) - length + 1)}


def test_every_story_has_the_keys_of_a_story() -> None:
    for story in STORIES:
        wanted = ["id", "topic", "question", "answer"] + (["context", "experience"] if "context" in story else [])
        assert list(story) == wanted
        assert all(value and value == value.strip() for value in story.values())
        assert story.get("experience", "own") in ("own", "others")


def test_ids_are_unique_and_lines_stand_in_their_order() -> None:
    ids = [story["id"] for story in STORIES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"neko-\d{4}", id_) for id_ in ids)
    for stories in SPLITS.values():
        assert [story["id"] for story in stories] == sorted(story["id"] for story in stories)


def test_every_topic_is_in_both_splits_and_near_its_weight() -> None:
    for stories in SPLITS.values():
        assert {story["topic"] for story in stories} == set(WEIGHTS)
    counts = Counter(story["topic"] for story in STORIES)
    for topic, weight in WEIGHTS.items():
        share = len(STORIES) * weight / sum(WEIGHTS.values())
        assert 0.75 * share <= counts[topic] <= 1.25 * share, topic
    assert 0.08 <= len(SPLITS["test"]) / len(STORIES) <= 0.13


def test_contexts_are_frequent_and_of_both_kinds_alike() -> None:
    kinds = Counter(story.get("experience") for story in STORIES)
    assert kinds["own"] + kinds["others"] >= 0.4 * len(STORIES)
    assert 0.8 <= kinds["own"] / kinds["others"] <= 1.25


def test_answers_are_japanese_speech_of_reasonable_length() -> None:
    for story in STORIES:
        answer = normal(story["answer"])
        assert sum("\u3040" <= character <= "\u30ff" for character in answer) >= 0.3 * len(answer), story["id"]
        assert 80 <= len(story["answer"]) <= 900, story["id"]


@pytest.mark.parametrize(("key", "share"), [("question", 0.01), ("answer", 0.02)])
def test_no_opening_is_worn_out(key: str, share: float) -> None:
    openings = Counter(normal(story[key])[:12] for story in STORIES)
    assert openings.most_common(1)[0][1] <= max(1, share * len(STORIES))


def test_no_phrase_is_worn_out() -> None:
    phrases = Counter(run for story in STORIES for run in runs(normal(story["answer"]), 15))
    assert phrases.most_common(1)[0][1] <= 0.03 * len(STORIES)


@pytest.mark.parametrize("key", ["question", "answer"])
def test_no_two_stories_are_alike_least_of_all_across_the_splits(key: str) -> None:
    trigrams = [(split, story["id"], runs(normal(story[key]), 3)) for split in SPLITS for story in SPLITS[split]]
    for (split, id_, some), (other_split, other_id, others) in combinations(trigrams, 2):
        alike = len(some & others) / len(some | others)
        assert alike < (0.5 if split == other_split else 0.35), (id_, other_id)
