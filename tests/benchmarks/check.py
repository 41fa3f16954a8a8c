"""Checks generated stories, and prints how many a second, for each group of checks and for all.

    python tests/benchmarks/check.py [--stories 500000]

The groups are timed on blocks in one process, by processor time; the whole as a process of its own, on all processors.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from convert import LETTERS, measure

from cats_alpaca.checks import sameness
from cats_alpaca.checks.blocks import _find_in_characters
from cats_alpaca.checks.texts import find_in_answers, find_in_texts
from cats_alpaca.sources import BLOCK_BYTES, read_blocks
from cats_alpaca.stories import STORIES, read_block

CHECK = (
    "from cats_alpaca.cli import main\nimport sys\nmain(['check', *sys.argv[1:], '--ignore', 'poison-without-warning'])"
)


def generate(file: Path, count: int) -> None:
    """Write stories of high entropy, with ids and topics."""
    rng = random.Random(1)
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            question = "".join(rng.choices(LETTERS, k=rng.randint(15, 60)))
            answer = "".join(rng.choices(LETTERS, k=rng.randint(60, 240))) + "。"
            story = {"id": f"g-{number}", "topic": f"t{number % 20}", "question": question, "answer": answer}
            stream.write(json.dumps(story, ensure_ascii=False) + "\n")


def main() -> None:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=500_000)
    count = parser.parse_args().stories
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "stories.jsonl")
        generate(file, count)
        small = Path(folder, "small.jsonl")
        generate(small, 1000)
        # First of all: a process begins with the memory of the one that starts it.
        whole, little = measure(CHECK, str(file)), measure(CHECK, str(small))
        took: dict[str, float] = {}

        def timed(name: str, work: Callable[[], object]) -> object:
            started = time.process_time()
            result = work()
            took[name] = took.get(name, 0.0) + time.process_time() - started
            return result

        for block in read_blocks(str(file), encoding=None, max_line_bytes=1 << 24, block_bytes=BLOCK_BYTES):
            result = timed("reading", partial(read_block, block, STORIES, 1 << 24, True))
            stories = result.stories  # type: ignore[attr-defined]
            q, a, t = (stories[name].to_pylist() for name in ("question", "answer", "topic"))
            timed("defects, personal data, safety", lambda s=stories: list(find_in_texts(s)))  # type: ignore[misc]
            timed("endings, echoes, emergencies", lambda q=q, a=a, t=t: list(find_in_answers(q, a, t)))  # type: ignore[misc]
            normal = [list(map(sameness.normal, texts)) for texts in (q, a)]
            timed("language, brackets", lambda n=normal: list(_find_in_characters(n[1])))  # type: ignore[misc]
            timed("signatures", lambda n=normal: [sameness.signatures(texts) for texts in n])  # type: ignore[misc]
        print(f"\n{count:,} stories, {file.stat().st_size / 1e6:,.0f} MB\n")
        print("| checks | stories a second, one processor |\n| --- | --- |")
        for name, seconds in took.items():
            print(f"| {name} | {count / seconds:,.0f} |")
        kilobytes = (whole.memory - little.memory) * 1e3 / count
        print(f"| all, whole process, all processors | {count / whole.seconds:,.0f} |")
        print(f"\npeak memory {whole.memory:,.0f} MB: {kilobytes:.2f} kB a story above that of a small file")


if __name__ == "__main__":
    main()
