"""Recalls from a store of many generated experiences, and prints how long it takes.

    python tests/benchmarks/recall.py [--experiences 200000]

The experiences are made of the packaged stories' sentences, so that common words are as common as people use them; a
tenth are shared with nobody. The questions are the packaged ones, and short ones of one word.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cats_alpaca import feedback
from cats_alpaca.feedback.store import clean_experience, insert_experience, new_id, writing
from cats_alpaca.stories import PACKAGED

WORDS = {
    "two characters: 嘔吐": "嘔吐",
    "two characters: 元気": "元気がありません",
    "one kanji: 咳": "咳",
    "common: くしゃみ": "猫がくしゃみをしています",
    "only common: して": "していますか",
    "stands nowhere": "鑿驫麤",
}


def find_sentences() -> tuple[list[str], list[str]]:
    """Give the packaged questions, and all sentences that fit an experience."""
    stories = [json.loads(line) for file in PACKAGED.values() for line in Path(file).read_text("utf-8").splitlines()]
    text = "。".join(f"{one['question']}。{one.get('context', '')}。{one['answer']}" for one in stories)
    return [one["question"] for one in stories], [one for one in re.split("[。\n]", text) if 8 < len(one) < 80]


def fill(store: feedback.Store, count: int) -> list[str]:
    """Add experiences of many people, each with a cat of two hundred experiences; give the people."""
    rng = random.Random(1)
    _, sentences = find_sentences()
    people = [feedback.join(store) for _ in range(max(count // 200, 1))]
    with writing(store):
        for number in range(count):
            seen, done, outcome = rng.choices(sentences, k=3)
            date = f"20{rng.randint(15, 25)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
            fields = clean_experience(cat="ミケ", date=date, seen=seen, done=done, outcome=outcome)
            insert_experience(store, people[number % len(people)], new_id("exp"), fields, rng.random() < 0.9)
    return people


def time_each(work: Callable[[str], object], questions: list[str]) -> list[float]:
    took = []
    for question in questions:
        started = time.perf_counter()
        work(question)
        took.append((time.perf_counter() - started) * 1000)
    return took


def main() -> None:
    """Fill, recall, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, default=200_000)
    count = parser.parse_args().experiences
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cats.sqlite")
        with feedback.open_store(file) as store:
            people = fill(store, count)
        print(f"\n{count:,} experiences of {len(people):,} cats, {file.stat().st_size / 1e6:,.0f} MB\n")
        with feedback.open_store(file) as store:
            questions = random.Random(2).sample(find_sentences()[0], 200)
            print("| question | recalled characters | milliseconds, median | 95th percentile | worst |")
            print("| --- | --- | --- | --- | --- |")
            for name, asked in {"200 of the packaged": questions, **{k: [v] * 9 for k, v in WORDS.items()}}.items():
                found: list[int] = []

                def work(question: str, found: list[int] = found) -> None:
                    found.append(len(feedback.recall(store, people[0], "ミケ", question).text))

                took = sorted(time_each(work, asked))
                times = (statistics.median(took), took[int(len(took) * 0.95)], took[-1])
                print(f"| {name} | {statistics.median(found):,.0f} | {' | '.join(f'{one:.1f}' for one in times)} |")
            started = time.perf_counter()
            feedback.forget(store, people[1], feedback.experiences(store, people[1])[0].id)
            print(f"\nforgetting one, with every byte of it: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
