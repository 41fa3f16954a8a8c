"""The card: every number is counted again here, hand edits survive, code runs, pictures show what they say."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import CHECKOUT, Run, Write, code_blocks

import cats_alpaca
from cats_alpaca import ReleaseError, build, check_release, feedback
from cats_alpaca.card import MARK, addressed, fields, merge, merging, pictures, read_facts, read_fields, tokens, told_by
from cats_alpaca.card.keys import foreign_configs, merge_keys
from cats_alpaca.card.numbers import Lengths, Numbers, batches, count
from cats_alpaca.card.text import Address, cite_section
from cats_alpaca.formats import CONFIGS
from cats_alpaca.recipes import RECIPES
from cats_alpaca.stories import SCHEMA

PACKAGED = CHECKOUT / "cats_alpaca"
CARD = (PACKAGED / "README.md").read_text("utf-8")
ROWS = {
    config: {
        split: pq.read_table(next((PACKAGED / "data" / config).glob(f"{split}-*"))).to_pylist()
        for split in ("train", "test")
    }
    for config in CONFIGS
}
STORIES = [row for rows in ROWS["stories"].values() for row in rows]
FOREIGN = [
    {
        "question": f"How tall is tower {n}?",
        "answer": f"It is {n} metres." * (n % 5 + 1),
        "topic": "塔" if n % 2 else "a|b#",
    }
    for n in range(40)
]


def section(name: str, card: str = CARD) -> str:
    [text] = [merging.inner(block) for block in merging.parse(card).blocks if block.key == name]
    return text


def table(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without heads and marks."""
    rows = [
        [cell.strip(" `*") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def in_bytes(size: str) -> float:
    number, unit = size.split()
    return float(number) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def batches_of(folder: Path) -> list[dict[str, str]]:
    return [row for batch in batches(folder, "prompt_completion") for row in batch.to_pylist()]


def visible(card: str) -> str:
    return re.sub(r"<!--.*?-->", "", card, flags=re.DOTALL)


def rank(values: list[int], percent: int) -> int:
    """The nearest rank, by its definition: the smallest value that at least so many percent do not exceed."""
    return next(v for v in sorted(values) if sum(w <= v for w in values) * 100 >= percent * len(values))


@pytest.fixture
def foreign(tmp_path: Path, write: Write) -> Path:
    out = tmp_path / "towers"
    build(write(FOREIGN), out=out, test_fraction=0.3)
    return out


# Numbers


def test_the_glance_says_what_the_files_hold() -> None:
    glance = dict(table(section("facts")))
    contexts = sum(bool(story["context"]) for story in STORIES)
    answers = [len(story["answer"]) for story in STORIES]
    train, test = (len(ROWS["alpaca"][split]) for split in ("train", "test"))
    assert glance["rows"] == f"{train + test:,}: {train:,} train, {test:,} test"
    assert glance["topics"] == str(len({story["topic"] for story in STORIES}))
    assert glance["with a context (`input`)"] == f"{contexts} ({100 * contexts / len(STORIES):.1f} %)"
    assert glance["an answer"] == f"median {rank(answers, 50)} characters, the longest {max(answers)}"
    assert contexts > len(STORIES) / 2  # which the prose says, in two languages


def test_the_table_of_configs_says_what_the_files_hold() -> None:
    sizes = table(section("configs"))[-len(CONFIGS) :]
    for config, (name, rows, disk_and_memory) in zip(CONFIGS, sizes, strict=True):
        files = list((PACKAGED / "data" / config).glob("*.parquet"))
        assert (name, rows) == (config, f"{len(ROWS[config]['train'])} + {len(ROWS[config]['test'])}")
        memory = sum(pq.read_metadata(file).row_group(0).total_byte_size for file in files)
        said = [in_bytes(size) for size in disk_and_memory.split(" / ")]
        assert said == pytest.approx([sum(file.stat().st_size for file in files), memory], rel=0.005)


def test_every_trainer_has_its_config_right_after_loading() -> None:
    head, *rows = table(section("configs"))
    assert head == ["trainer", "config", "what the model sees"]
    told = [[title.removesuffix(" (never run here)"), *rest] for title, *rest in rows[: len(RECIPES)]]
    assert told == [[recipe.title, recipe.config, recipe.sees] for recipe in RECIPES.values()]
    assert [title for title, *_ in rows if "never run" in title] == [
        f"{recipe.title} (never run here)" for recipe in RECIPES.values() if not recipe.tested
    ]
    keys = [block.key for block in merging.parse(CARD).blocks if block.section]
    assert keys[keys.index("load") + 1] == "configs"
    assert keys.index("limits") < keys.index("made") < keys.index("recipes") < keys.index("numbers")


def test_experiences_are_counted() -> None:
    count = Counter(story["experience"] for story in STORIES)
    assert f"`own` in {count['own']} rows, `others` in {count['others']}, and is" in section("configs")


def test_lengths_in_characters_are_those_of_the_texts() -> None:
    rows = table(section("numbers"))[1:4]
    assert [row[0] for row in rows] == ["question", "context", "answer"]
    for name, *found in rows:
        lengths = [len(story[name]) for story in STORIES if story[name]]
        half, most = rank(lengths, 50), rank(lengths, 95)
        assert found == [f"{half:,}", f"{most:,}", f"{min(lengths):,} – {max(lengths):,}"]


def test_topics_and_their_contexts_are_counted() -> None:
    rows = table(section("numbers"))[5:]
    count = Counter(story["topic"] for story in STORIES)
    with_context = Counter(story["topic"] for story in STORIES if story["context"])
    assert [row[1:] for row in rows] == [
        [topic, f"{n}", f"{with_context[topic]}"]
        for topic, n in sorted(count.items(), key=lambda item: (-item[1], item))
    ]


def test_phrases_are_counted() -> None:
    rows = table(section("phrases"))[1:]
    assert [row[0] for row in rows] == read_fields(fields.PACKAGED)["phrases"]
    for phrase, rows_with, share in rows:
        held = sum(phrase in story["answer"] for story in STORIES)
        assert (rows_with, share) == (f"{held:,}", f"{100 * held / len(STORIES):.1f} %")


def test_tokens_are_counted_over_all_rows() -> None:
    import splintr

    rows = table(section("tokens"))[1:]
    assert [row[0] for row in rows] == list(tokens.TOKENIZERS)
    assert f"All {len(STORIES)} rows" in section("tokens")
    texts = [row["prompt"] + row["completion"] for rows in ROWS["prompt_completion"].values() for row in rows]
    fitting = {
        name: int(length.replace(",", ""))
        for length, names in re.findall(r"^- \*\*([\d,]+)\*\*: (.*)$", section("tokens"), re.MULTILINE)
        for name in names.split("; ")
    }
    assert sorted(fitting) == sorted(tokens.TOKENIZERS)
    for name, *found in rows:
        tokenizer = splintr.Tokenizer.from_pretrained(tokens.TOKENIZERS[name])
        lengths = [len(tokenizer.encode(text)) for text in texts]
        half, most, longest = (int(cell.replace(",", "")) for cell in found)
        enough = fitting[name]
        assert (half, most, longest) == (rank(lengths, 50), rank(lengths, 95), max(lengths))
        assert max(lengths) + 2 <= enough < max(lengths) + 2 + 128
        assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
        if name == "Llama 3":
            said = re.findall(r"(?<!Llama )\b\d[\d,]*\b", section("length"))
            assert [int(figure.replace(",", "")) for figure in said] == [half, longest, enough]


def test_of_many_rows_a_sample_is_measured_and_said(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "SAMPLE", 15)
    build(write(FOREIGN), out=tmp_path / "towers")
    text = section("tokens", (tmp_path / "towers" / "README.md").read_text("utf-8"))
    assert "A sample of 14 rows" in text  # every third of 40


def test_what_portions_count_is_what_all_rows_come_to(tmp_path: Path, write: Write) -> None:
    said = {"phrases": ["metres", "metres.It"]}
    source = write(FOREIGN * 20 + STORIES[:200])
    facts = build(source, out=tmp_path / "r", test_fraction=0.3, max_shard_size=20_000, fields=said)
    assert facts["chat"]["train"].files > 5
    assert facts == read_facts(tmp_path / "r")
    check_release(source, out=tmp_path / "r", test_fraction=0.3, max_shard_size=20_000)  # the card is told by its files
    check_release(source, out=tmp_path / "r", test_fraction=0.3)
    numbers = count(tmp_path / "r", said["phrases"])
    assert (numbers.rows, len(numbers.by_topic)) == (1000, 2 + len({story["topic"] for story in STORIES[:200]}))
    assert numbers.phrases == {
        phrase: sum(phrase in row["answer"] for row in FOREIGN * 20 + STORIES[:200]) for phrase in said["phrases"]
    }


@given(
    st.lists(st.tuples(st.sampled_from(["", "a"]), st.integers(0, 6)), max_size=30),
    st.integers(0, 30),
    st.integers(1, 8),
)
def test_portions_add_up_in_any_order(stories: list[tuple[str, int]], cut: int, many: int) -> None:
    rows = [
        {"question": "q", "answer": "a" * n, "context": context, "topic": f"{n}" * bool(n), "experience": "own"}
        for context, n in stories
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cats_alpaca.card.numbers._MANY_TOPICS", many)
        whole, added = Numbers(), Numbers()
        whole.add(pa.RecordBatch.from_pylist(rows, SCHEMA), ["aaa"])
        for part in (rows[cut:], rows[:cut]):
            portion = Numbers()
            portion.add(pa.RecordBatch.from_pylist(part, SCHEMA), ["aaa"])
            added.merge(Numbers.from_dict(json.loads(json.dumps(portion.as_dict()))))
        assert whole.by_topic == added.by_topic
    assert (whole.rows, whole.lengths, whole.experience) == (added.rows, added.lengths, added.experience)
    assert whole.phrases == added.phrases


def test_a_sample_of_row_groups_is_spread_over_all(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(write([*FOREIGN, *STORIES]), out=tmp_path / "r", max_shard_size=20_000, test_fraction=0.1)
    every = [row["prompt"] + row["completion"] for row in batches_of(tmp_path / "r")]
    assert list(tokens._texts(tmp_path / "r")) == every
    monkeypatch.setattr(tokens, "SAMPLE", 50)
    assert list(tokens._texts(tmp_path / "r")) == every[:: -(-len(every) // 50)]
    monkeypatch.setattr(tokens, "ROW_GROUPS", 3)
    some = list(tokens._texts(tmp_path / "r"))
    assert set(some) <= set(every)
    assert 25 < len(some) <= 50
    assert every.index(some[0]) < 10 < len(every) / 2 < every.index(some[-1])


@given(st.lists(st.integers(0, 60), min_size=1), st.integers(0, 100))
def test_a_percentile_is_the_nearest_rank(values: list[int], percent: int) -> None:
    assert Lengths(values).at(percent) == (rank(values, percent) if percent else min(values))


def test_the_shown_row_is_a_row_of_every_config() -> None:
    shown = [json.loads(block) for block in code_blocks(CARD, "rows", "json")]
    places = {ROWS[config]["train"].index(row) for config, row in zip(CONFIGS, shown, strict=True)}
    assert len(places) == 1
    for column, text in table(section("rows"))[1:]:
        assert text.replace("<br>", "\n") == shown[0][column]


def test_prose_holds_no_number() -> None:
    told = read_fields(fields.PACKAGED)
    allowed = r"https?://\S+|CC BY 4\.0|Apache 2\.0|`neko-\d{4}`"
    assert [name for name in fields.PROSE if re.search(r"\d", re.sub(allowed, "", told.get(name, "")))] == []


def test_the_last_change_names_the_stories_there_are() -> None:
    ids = re.findall(r"neko-\d{4}", section("changes"))
    assert (min(ids), max(ids)) == (min(s["id"] for s in STORIES), max(s["id"] for s in STORIES))


# Form


@pytest.mark.parametrize("marked", ["<details>", "</details>", "</summary>"])
def test_markdown_inside_details_is_set_off_by_blank_lines(marked: str) -> None:
    lines = CARD.splitlines()
    for at in [at for at, line in enumerate(lines) if line.endswith(marked)]:
        assert not lines[at + 1] if marked != "<details>" else lines[at + 1].startswith("<summary>")
        assert marked == "</summary>" or not lines[at - 1]
    assert CARD.count("<details>") == CARD.count("</details>") == CARD.count("</summary>") > len(RECIPES)


def test_names_of_options_are_set_as_code() -> None:
    prose = re.sub(r"```.*?```", "", section("recipes") + section("guide"), flags=re.DOTALL)
    assert re.findall(r"\w+_\w+|--\w+|<\|", re.sub(r"`[^`]*`", "", prose)) == []


def test_links_inside_the_card_lead_to_a_heading() -> None:
    heads = re.findall(r"^#+ (.*)$", CARD, re.MULTILINE)
    places = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
    links = re.findall(r"\]\(#(.*?)\)", CARD)
    assert links
    assert set(links) <= places


# YAML


def test_the_yaml_goes_through_the_hubs_own_reader_and_back() -> None:
    card = DatasetCard.load(PACKAGED / "README.md")
    assert yaml.safe_load(card.data.to_yaml()) == yaml.safe_load(merging.parse(CARD).header)
    assert card.data.to_dict()["license"] == "cc-by-4.0"
    assert card.data.to_dict()["size_categories"] == ["n<1K"]


# Hand edits


HAND = st.lists(
    st.one_of(
        st.text("abc #|`-*é猫", min_size=1, max_size=12).filter(lambda text: text.strip() and "```" not in text),
        st.just("```sh\none\n\n\ntwo\n```"),
        st.just("---"),
    ),
    max_size=6,
)
NAMES = ["title", "facts", "load", "tokens", "cite"]


def a_card(names: list[str], by_hand: list[str], places: list[int], version: str = "new") -> str:
    parts = [merging.section(name, f"{version} {name}") for name in names]
    for text, place in zip(by_hand, places, strict=False):
        parts.insert(place % (len(parts) + 1), text)
    known = merging.parse(merging.merge("".join(f"{merging.section(n, n)}\n" for n in names), "")).known
    return str(merging.parse("\n\n".join(parts))._replace(header="license: mit\n", known=known))


cards = st.builds(
    a_card,
    st.lists(st.sampled_from(NAMES), unique=True),
    HAND,
    st.lists(st.integers(0, 20), min_size=6, max_size=6),
    st.sampled_from(["old", "new"]),
)


@given(cards, cards)
def test_merging_twice_is_merging_once(generated: str, existing: str) -> None:
    once = merge(generated, existing)
    assert merge(generated, once) == once


@given(st.lists(st.sampled_from(NAMES), unique=True), cards)
def test_what_people_wrote_survives_in_its_order(names: list[str], existing: str) -> None:
    def written(card: str) -> list[str]:
        return [block.text for block in merging.parse(card).blocks if not block.section]

    merged = merge(a_card(names, [], []), existing)
    assert written(merged) == written(existing)
    assert all(f"new {block.key}" in block.text for block in merging.parse(merged).blocks if block.section)


def test_an_edited_card_keeps_its_edits_through_a_rebuild(foreign: Path, tmp_path: Path, write: Write) -> None:
    readme = foreign / "README.md"
    text = readme.read_text("utf-8")
    text = text.replace("tags:\n", "# by hand\nviewer: false\nextra_gated_prompt: |\n  Be nice.\ntags:\n- towers\n")
    text = text.replace("<!-- cats-alpaca:begin load", "## My section\n\nBy hand.\n\n<!-- cats-alpaca:begin load")
    readme.write_text(text.replace("\n", "\r\n"), "utf-8", newline="")  # as the Hub's editor may save it
    build(write([*FOREIGN, {"question": "And now?", "answer": "Now it is higher."}]), out=foreign, test_fraction=0.3)
    text = readme.read_text("utf-8")
    assert "## My section\n\nBy hand.\n\n<!-- cats-alpaca:begin load" in text
    assert text.count("By hand.") == 1
    assert "viewer: false\nextra_gated_prompt: |\n  Be nice.\n" in text
    assert "towers" in yaml.safe_load(merging.parse(text).header)["tags"]
    assert "41: " in section("facts", text)
    check_release(
        write([*FOREIGN, {"question": "And now?", "answer": "Now it is higher."}]), out=foreign, test_fraction=0.3
    )


YAML_OF_SOMEBODY = """\
# The board agreed on it
# in May.

license: cc0-1.0
extra_gated_prompt: |
  # no comment
  Be nice.
# They live there:
language: &tongue
- ja
also: *tongue # twice
people: &people {cat: [ミケ]}
friends:
  # The same ones.
  first: *people
tags:
  - towers
configs:
- {config_name: towers, data_files: "towers/*.csv", default: true}
- config_name: alpaca
  data_files: elsewhere.csv
- config_name: all of it
  data_dir: data/chat
- config_name: default
  data_files: more.csv
dataset_info:
  config_name: towers
  dataset_size: 7
# the end
"""


def test_yaml_that_somebody_wrote_is_kept(foreign: Path) -> None:
    ours = merging.parse((foreign / "README.md").read_text("utf-8")).header
    merged = merge_keys(ours, YAML_OF_SOMEBODY)
    mine, kept = yaml.safe_load(ours), yaml.safe_load(merged)
    for kind in ("configs", "dataset_info"):
        assert kept[kind][:-1] == mine[kind]
    assert kept["configs"][-1] == {"config_name": "towers", "data_files": "towers/*.csv"}
    assert kept["dataset_info"][-1] == {"config_name": "towers", "dataset_size": 7}
    assert kept["tags"] == [*mine["tags"], "towers"]
    assert kept["also"] == ["ja"]
    assert kept["friends"] == {"first": kept["people"]} == {"first": {"cat": ["ミケ"]}}
    assert {key: kept[key] for key in mine.keys() - {"configs", "dataset_info", "tags"}} == {
        key: mine[key] for key in mine.keys() - {"configs", "dataset_info", "tags"}
    }
    assert "# The board agreed on it\n# in May.\n\nlicense: " in merged
    assert "# They live there:\nlanguage:" in merged
    assert "extra_gated_prompt: |\n  # no comment\n  Be nice.\n" in merged
    assert merged.endswith("# the end\n")
    assert merge_keys(ours, merged) == merged
    assert merge_keys(merged, merged) == merged


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [
        ("{license: mit, mine: [7]}\n", "mine:\n- 7\n"),
        ("? mine\n: 7\n", "? mine\n: 7\n"),
        ("'mi: ne': 7\n", "'mi: ne': 7\n"),
        ("# nothing else\n", "# nothing else\n"),
        ("", ""),
        ("a: &x [1]\nlicense: mit\nb: *x\n", "a: &x [1]\nb:\n- 1\n"),
    ],
)
def test_yaml_of_any_form_is_kept(theirs: str, kept: str) -> None:
    assert merge_keys("license: cc0-1.0\n", theirs) == f"license: cc0-1.0\n{kept}"
    assert merge_keys("license: cc0-1.0\n", f"license: cc0-1.0\n{kept}") == f"license: cc0-1.0\n{kept}"


@pytest.mark.parametrize("theirs", ["- a\n", "a: [\n", "a: *nobody\n", "a: &a [*a]\n", "just words\n"])
def test_yaml_that_cannot_be_read_is_an_error(theirs: str) -> None:
    with pytest.raises(ReleaseError, match=r"(?s)YAML cannot be read \(.*mend it by hand"):
        merge_keys("license: cc0-1.0\n", theirs)


@pytest.mark.parametrize("ours", ["tags: [cats]\n", "tags:\n  - cats\n", "tags: cats\n", "tags:\n- cats\n"])
def test_tags_are_united_however_they_are_written(ours: str) -> None:
    merged = merge_keys(ours, "tags: [towers, cats]\n")
    assert yaml.safe_load(merged) == {"tags": ["cats", "towers"]}
    assert merge_keys(ours, merged) == merged


@pytest.mark.parametrize(
    ("config", "foreign"),
    [
        ({"data_files": "towers.csv"}, True),
        ({"data_files": ["./data/towers/*.csv", "https://cats.example/t.csv"]}, True),
        ({"data_files": [{"split": "train", "path": ["data/*.parquet"]}]}, True),
        ({"data_dir": "towers"}, True),
        ({}, True),
        ({"data_files": {"train": "data/alpaca/train-*"}}, False),
        ({"data_files": "./data/kto/*"}, False),
        ({"data_files": "**/*.parquet"}, False),
        ({"data_files": "*/chat/test-?????-of-*"}, False),
        ({"data_dir": "data/chat"}, False),
        ({"data_dir": "data"}, False),
    ],
)
def test_a_config_of_our_files_is_no_foreign_one(config: dict[str, object], foreign: bool) -> None:
    assert (foreign_configs({"configs": [{"config_name": "mine", **config}]}) != {}) == foreign


def test_an_edit_inside_the_markers_is_lost_and_the_marker_says_so(foreign: Path, write: Write) -> None:
    readme = foreign / "README.md"
    before = readme.read_text("utf-8")
    readme.write_text(before.replace("## Load it", "## Load it, please"), "utf-8")
    with pytest.raises(ReleaseError, match=r"the card README\.md"):
        check_release(write(FOREIGN), out=foreign, test_fraction=0.3)
    build(write(FOREIGN), out=foreign, test_fraction=0.3)
    assert readme.read_text("utf-8") == before
    assert "begin load (made by the program: edit above or below it, not inside) -->" in before


def test_a_section_that_was_deleted_stays_away_and_comes_back_by_its_name(foreign: Path, write: Write) -> None:
    readme = foreign / "README.md"
    whole = readme.read_text("utf-8")
    deleted = merging.section("recipes", section("recipes", whole))
    readme.write_text(whole.replace(f"{deleted}\n\n", ""), "utf-8")
    build(write(FOREIGN), out=foreign, test_fraction=0.3)
    without = readme.read_text("utf-8")
    assert "## Use it for QLoRA" not in without
    check_release(write(FOREIGN), out=foreign, test_fraction=0.3)
    readme.write_text(without.replace(" recipes ", " "), "utf-8")
    build(write(FOREIGN), out=foreign, test_fraction=0.3)
    assert deleted in readme.read_text("utf-8")


def test_a_section_that_the_program_takes_away_may_come_back() -> None:
    both, one = a_card(["title", "tokens"], [], []), a_card(["title"], [], [])
    assert "new tokens" not in merge(one, both)
    assert "new tokens" in merge(both, merge(one, both))


def test_a_paragraph_that_was_edited_on_one_side_is_not_doubled() -> None:
    local = merge(a_card(["title"], ["Mine."], [1]), "")
    remote = merge(local, "")
    assert "Yours." in (web := merge(local, remote.replace("Mine.", "Yours.")))
    assert "Mine." not in visible(web)
    assert "Ours." in (pushed := merge(local.replace("Mine.", "Ours."), remote))
    assert "Mine." not in visible(pushed)


def test_what_both_sides_added_is_united() -> None:
    base = merge(a_card(["title", "load"], [], []), "")
    mine, yours = (
        base.replace("\n\n<!-- cats-alpaca:begin load", f"\n\n{who}\n\n<!-- cats-alpaca:begin load")
        for who in ("Mine.", "Yours.")
    )
    assert [block.text for block in merging.parse(merge(mine, yours)).blocks if not block.section] == [
        "Mine.",
        "Yours.",
    ]


def test_a_card_of_the_hubs_that_is_not_ours_is_kept_below() -> None:
    merged = merge(CARD, "---\nlicense: mit\nviewer: false\n---\n# Theirs\n\nHello.\n")
    assert yaml.safe_load(merging.parse(merged).header)["license"] == "cc-by-4.0"
    assert "viewer: false" in merged
    assert merged.index("# Cat stories") < merged.index("# Theirs\n\nHello.")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda card: card.replace("<!-- cats-alpaca:end load -->\n", ""), "section 'load' has no end"),
        (lambda card: card.replace("language:", "language: [ja"), "YAML cannot be read"),
    ],
)
def test_a_card_that_was_broken_is_refused(spoil: Callable[[str], str], says: str) -> None:
    with pytest.raises(ReleaseError, match=says):
        merge(CARD, spoil(CARD))


# Code


def test_the_code_that_loads_runs(tmp_path: Path) -> None:
    (tmp_path / "cats_alpaca").symlink_to(PACKAGED)
    blocks = code_blocks(CARD, "load")
    assert len(blocks) == 5
    for block in blocks:
        environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


def test_the_code_of_a_foreign_card_runs_where_its_folder_lies(foreign: Path) -> None:
    for block in code_blocks((foreign / "README.md").read_text("utf-8"), "load")[2:]:
        done = subprocess.run([sys.executable, "-c", block], cwd=foreign.parent, capture_output=True, text=True)
        assert (done.returncode, "metres" in done.stdout or "tower" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("revision", "pin", "at"),
    [(None, "", ""), ("v1.0.0", ', revision="v1.0.0"', "@v1.0.0"), ("a/b", ', revision="a/b"', "@a%2Fb")],
)
def test_an_addressed_card_names_the_repository_in_all_code(revision: str | None, pin: str, at: str) -> None:
    card = addressed(CARD, "me/neko", revision)
    first, second, *others = code_blocks(card, "load")
    said = ast.unparse(ast.parse(first)).replace("'", '"')
    assert f'load_dataset("me/neko", "alpaca", split="train"{pin})' in said
    assert f'load_dataset("me/neko", "chat", split="train"{pin}, streaming=True)' in second
    files = [
        f"hf://datasets/me/neko{at}/data/{end}"
        for end in ("alpaca/train-*.parquet", "stories/train-*.parquet", "alpaca/train-00000-of-00001.parquet")
    ]
    assert [re.findall(r"hf://[^\"']*", block) for block in others] == [[file] for file in files]
    assert "\\url{https://huggingface.co/datasets/me/neko}" in section("cite", card)
    assert '"cats_alpaca' not in card


def test_only_sections_with_code_change_when_a_card_is_addressed() -> None:
    card = addressed(CARD, "me/neko")
    changed = {
        new.key for new, old in zip(merging.parse(card).blocks, merging.parse(CARD).blocks, strict=True) if new != old
    }
    assert changed == {"load", "recipes", "cite"}
    assert merging.parse(card).header == merging.parse(CARD).header


def test_addressing_is_the_last_word() -> None:
    there = addressed(CARD, "me/neko", "v1.0.0")
    assert addressed(there, "me/neko", "v1.0.0") == there
    assert addressed(addressed(CARD, "you/inu"), "me/neko", "v1.0.0") == there
    assert merge(there, there) == there


# Pictures


def test_pictures_open_are_small_and_not_blank_on_any_page() -> None:
    for name in pictures.NAMES:
        file = PACKAGED / name
        assert file.stat().st_size < 60_000
        with Image.open(file) as image:
            assert image.size[0] <= 800
            for page in ("white", "#0b0f19"):
                seen = Image.new("RGBA", image.size, page)
                seen.alpha_composite(image.convert("RGBA"))
                (count, background), *others = sorted(seen.getcolors(1 << 24) or [], reverse=True)
                assert background == Image.new("RGBA", (1, 1), page).getpixel((0, 0))
                assert sum(n for n, _ in others) > 0.05 * count


@pytest.mark.parametrize("color", [pictures.TEXT, pictures.STRONG, pictures.WEAK])
@pytest.mark.parametrize("page", ["#ffffff", "#0b0f19"])
def test_the_pictures_colours_stand_out_from_the_page(color: str, page: str) -> None:
    def light(code: str) -> float:  # WCAG 2.1, relative luminance
        parts = [int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(color), light(page)))
    assert (high + 0.05) / (low + 0.05) > 2.9


def test_pictures_differ_when_the_data_differ(foreign: Path, write: Write) -> None:
    before = {name: (foreign / name).read_bytes() for name in pictures.NAMES}
    digests = {name: pictures.shown(foreign / name) for name in pictures.NAMES}
    build(write(FOREIGN[:30]), out=foreign, test_fraction=0.3)
    for name in pictures.NAMES:
        assert (foreign / name).read_bytes() != before[name]
        assert pictures.shown(foreign / name) != digests[name]


@pytest.mark.parametrize("name", pictures.NAMES)
def test_check_sees_a_picture_that_shows_something_else(foreign: Path, write: Write, name: str) -> None:
    check_release(write(FOREIGN), out=foreign, test_fraction=0.3)
    (foreign / name).write_bytes((PACKAGED / name).read_bytes())
    with pytest.raises(ReleaseError, match=f"is stale: the picture {name}"):
        check_release(write(FOREIGN), out=foreign, test_fraction=0.3)
    (foreign / name).unlink()
    with pytest.raises(ReleaseError, match=f"is stale: the picture {name}"):
        check_release(write(FOREIGN), out=foreign, test_fraction=0.3)


def test_without_topics_there_is_no_picture_of_them(foreign: Path, write: Write) -> None:
    assert (foreign / "assets" / "topics.png").exists()
    build(write([{"question": f"{n}?", "answer": f"{n}."} for n in range(9)]), out=foreign)
    assert [file.name for file in (foreign / "assets").iterdir()] == ["lengths.png"]
    assert "topics" not in visible((foreign / "README.md").read_text("utf-8")).replace("`topic`", "")


# Other people's data


def test_a_foreign_card_says_nothing_of_cats(foreign: Path) -> None:
    text = visible((foreign / "README.md").read_text("utf-8"))
    assert not re.search(
        r"\bcats?\b|cats_alpaca|猫|neko|CC BY|cc-by|language model|veterinar|invented|synthetic", text, re.IGNORECASE
    )
    assert text.count("\n# towers\n") == 1
    assert MARK in (foreign / "README.md").read_text("utf-8")
    assert "license" not in told_by(text)


def test_foreign_names_stay_text(foreign: Path) -> None:
    rows = table(section("numbers", (foreign / "README.md").read_text("utf-8")))
    assert [row[1] for row in rows[-2:]] == [r"a\|b\#", "塔"]


def test_foreign_text_cannot_break_the_card(tmp_path: Path, write: Write) -> None:
    evil = "<!-- cats-alpaca:end rows --> ``` | <script> </details>\n\n# x" + "long " * 300
    build(write([{"question": evil, "answer": evil}]), out=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert merge(text, text) == text
    [row, *_] = [json.loads(block) for block in code_blocks(text, "rows", "json")]
    assert row["instruction"] == f"{evil.strip()[:600]}… ({len(evil.strip()):,} characters in all)"
    assert "<script>" not in re.sub(r"^```json\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_what_was_said_once_need_not_be_said_again(run: Run, write: Write, tmp_path: Path) -> None:
    source, out = write(FOREIGN), tmp_path / "towers"
    config = tmp_path / "card.yaml"
    (tmp_path / "CHANGES.md").write_text("- More towers.\n", "utf-8")
    config.write_text(
        "tags: [towers]\nauthors: [Ann, Ben Li]\nphrases: [metres]\ndescription: |\n  Towers.\n\n  ## Why\n\n  High.\n"
        "changes: {file: CHANGES.md}\n",
        "utf-8",
    )
    told = ["--title", "Towers: all", "--license", "mit", "--language", "en", "--card-config", str(config)]
    first = run("build", "--train", source, "--out", str(out), *told)
    assert (first.returncode, first.stderr) == (0, "40 lines read = 40 kept + 0 rejected\n")
    card = (out / "README.md").read_text("utf-8")
    assert told_by(card) == {
        "title": "Towers: all", "license": "mit", "language": ["en"], "tags": ["towers"],
        "task_categories": ["text-generation", "question-answering"], "authors": ["Ann", "Ben Li"],
        "phrases": ["metres"], "description": "Towers.\n\n## Why\n\nHigh.", "changes": "- More towers.",
    }  # fmt: skip
    again = run("build", "--train", source, "--out", str(out))
    assert (again.returncode, (out / "README.md").read_text("utf-8")) == (0, card)
    assert run("build", "--train", source, "--out", str(out), "--check").returncode == 0
    config.write_text("description: ''\n", "utf-8")
    run("build", "--train", source, "--out", str(out), "--card-config", str(config))
    assert "description" not in told_by((out / "README.md").read_text("utf-8"))


def test_without_a_licence_the_build_says_that_a_push_will_refuse(run: Run, write: Write) -> None:
    done = run("build", "--train", write(FOREIGN), "--out", "towers")
    assert (done.returncode, done.stderr.splitlines()[1:]) == (
        0, ["The card names no licence, so push will refuse this release: build it with --license"],
    )  # fmt: skip


def test_card_options_are_for_ones_own_stories(run: Run) -> None:
    assert run("build", "--license", "mit").returncode == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("licence: mit\n", "card.yaml:1: there is no field 'licence'; known are title, license, "),
        ("title: [a]\n", "'title' must be a text, got ['a']"),
        ("title: |\n  a\n  b\n", "'title' must be one line"),
        ("language: no\ntags: [7]\n", "'tags' must be a list of texts, got 7"),
        ("authors: [A and B]\n", "'authors' cannot hold 'A and B'"),
        ("# mine\nmade: {path: x}\n", "card.yaml:2: 'made' must be a text or {file: NAME}"),
        ("title: a\nmade: {file: HOW.md}\n", "card.yaml:2: 'made' names the file "),
        ("made: {file: HOW.md}\n", "HOW.md, but it cannot be read (No such file or directory); put it there, or"),
        ("made: {file: .}\n", ", but it cannot be read (Is a directory); put it there"),
        ("made: '<!-- cats-alpaca:end made -->'\n", "reword it"),
        ("- a\n", "it must hold fields, such as 'title: My stories'"),
        ("a: [\n", "this is no YAML or JSON"),
    ],
)
def test_a_wrong_card_config_is_refused_with_the_reason(
    run: Run, write: Write, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "card.yaml").write_text(content, "utf-8")
    done = run("build", "--train", write(FOREIGN), "--out", "towers", "--card-config", str(tmp_path / "card.yaml"))
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "cwd" / "towers").exists()


def test_a_card_config_that_is_not_there_is_named(run: Run, write: Write) -> None:
    done = run("build", "--train", write(FOREIGN), "--out", "towers", "--card-config", "no.yaml")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: no.yaml: it cannot be read (No such file or directory); name another --card-config"
    )


def test_what_is_cited_is_read_back_and_braced_where_it_is_a_group(run: Run, write: Write, tmp_path: Path) -> None:
    config = tmp_path / "card.yaml"
    config.write_text(
        'authors: ["{A_B & Co. of Oslo}", Ann Lee]\nyear: "2025"\nversion: 1.0_b\n'
        "title: 50% of {Towers}\ncontact: Write to ann@example.org.\n",
        "utf-8",
    )
    source = write(FOREIGN)
    run("build", "--train", source, "--out", "towers", "--card-config", str(config))
    card = (tmp_path / "cwd" / "towers" / "README.md").read_text("utf-8")
    bibtex = section("cite", card).partition("```bibtex\n")[2]
    assert "  title = {{50\\% of \\{Towers\\}}},\n" in bibtex
    assert "  author = {{A\\_B \\& Co. of Oslo} and Ann Lee},\n  year = {2025},\n  version = {1.0\\_b},\n}" in bibtex
    assert "A\\_B & Co. of Oslo, Ann Lee, 2025; version 1.0\\_b." in section("cite", card)
    assert section("contact", card) == "## Contact\n\nWrite to ann@example.org."
    told = {"authors": ["{A_B & Co. of Oslo}", "Ann Lee"], "year": "2025", "version": "1.0_b"}
    for text in (card, addressed(card, "me/towers", "v1")):
        assert {name: told_by(text)[name] for name in told} == told
    run("build", "--train", source, "--out", "towers")
    assert (tmp_path / "cwd" / "towers" / "README.md").read_text("utf-8") == card


@given(st.text("ab_&%$#~^ é猫", min_size=1).map(str.strip).filter(bool))
def test_any_name_of_an_author_is_read_back(name: str) -> None:
    text = merging.section("cite", cite_section(Address("mine"), {"title": "T", "authors": [f"{{{name}}}", name]}))
    assert told_by(f"{text}\n")["authors"] == [f"{{{name}}}", name]


def test_the_packaged_card_says_who_when_and_which_version() -> None:
    told = told_by(CARD)
    assert told["authors"] == ["{The authors of cats_alpaca}"]
    assert told["version"] == cats_alpaca.__version__
    assert "The authors of cats\\_alpaca, 2026; version " in section("cite")
    assert "(https://huggingface.co/datasets/me/neko/discussions)" in section("cite", addressed(CARD, "me/neko"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "**None is named.** Without a licence nobody may take it for granted"),
        (["--license", "mit"], "The rows are under `mit`."),
        (
            ["--license", "other", "--card-config", "c.yaml"],
            r"The rows are under [My \[terms\]](https://example.org/t).",
        ),
    ],
)
def test_without_terms_the_card_says_what_it_knows_of_the_licence(
    run: Run, write: Write, tmp_path: Path, options: list[str], says: str
) -> None:
    config = "license_name: My [terms]\nlicense_link: https://example.org/t\n"
    (tmp_path / "cwd" / "c.yaml").write_text(config, "utf-8")
    run("build", "--train", write(FOREIGN), "--out", "towers", *options)
    card = (tmp_path / "cwd" / "towers" / "README.md").read_text("utf-8")
    assert section("licence", card).startswith(f"## Licence\n\n{says}")
    assert "terms" not in told_by(card)


def test_a_licence_that_is_written_into_the_yaml_reaches_the_published_text(foreign: Path) -> None:
    card = (foreign / "README.md").read_text("utf-8").replace("---\n", "---\nlicense: apache-2.0\n", 1)
    assert "The rows are under `apache-2.0`." in section("licence", addressed(card, "me/towers"))


def test_a_card_without_a_test_split_names_none(write: Write, tmp_path: Path) -> None:
    build(write(FOREIGN), out=tmp_path / "towers")
    card = (tmp_path / "towers" / "README.md").read_text("utf-8")
    told = section("recipes", card).replace("They had a test split, which this release does not have.", "")
    kept_back = "train_test_split(0.1, seed=0)  # LitGPT must look at some rows: a tenth is kept from training"
    assert kept_back in told
    told = re.sub(r'rows\["test"\]\.to_json|\btest -d', "", told.replace(kept_back, ""))
    assert re.findall(r".*test.*", told + section("guide", card) + section("load", card)) == []


def test_rows_from_people_change_what_the_card_says_of_who_wrote_them(write: Write, tmp_path: Path) -> None:
    store, out = tmp_path / "cats.sqlite", tmp_path / "towers"
    with feedback.open_store(store) as opened:
        who = feedback.join(opened)
        for what in ("train", "publish"):
            feedback.set_consent(opened, who, what, True)
        turn = feedback.ask(opened, who, "こはる", "夜中に鳴きます。")
        feedback.rate(opened, who, turn.id, "up", correction="寝る前に遊んで、夜食を少し出しましょう。")
    said = {
        "language_creators": ["machine-generated"], "annotations_creators": "expert-generated", "language": "ja",
        "made": "By a machine.", "personal_data": "None.", "summary": "All by a machine.",
    }  # fmt: skip
    source = write(FOREIGN)
    build(source, out=out, fields=said)
    before = told_by((out / "README.md").read_text("utf-8"))
    build(source, out=out, feedback=store)
    card = (out / "README.md").read_text("utf-8")
    top = yaml.safe_load(merging.parse(card).header)
    assert top["language_creators"] == ["machine-generated", "crowdsourced"]
    assert top["annotations_creators"] == ["expert-generated", "crowdsourced"]
    keys = [block.key for block in merging.parse(card).blocks if block.section]
    assert keys[keys.index("summary") + 1] == "feedback"
    assert "実際の人が" in section("feedback", card)
    assert section("made", card).count(fields.NOTE.strip()) == 1
    assert told_by(card) == before
    build(source, out=out, feedback=store)
    assert (out / "README.md").read_text("utf-8") == card
    build(source, out=out)
    after = (out / "README.md").read_text("utf-8")
    assert "crowdsourced" not in after
    assert "fb-" not in visible(after)


# Without the extra


def without_splintr(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as where splintr-rs is not installed."""
    hide = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n, *a: n != 'splintr' and find(n, *a)"
    code = f"{hide} or None\nfrom cats_alpaca.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)


def test_without_the_extra_the_table_is_left_out_and_the_build_says_so(tmp_path: Path, write: Write) -> None:
    build_it = ["build", "--train", write(FOREIGN), "--license", "mit", "--out", "towers"]
    done = without_splintr(tmp_path, *build_it)
    assert done.stderr.splitlines()[-1].startswith("The card has no table of tokens: for one, pip install")
    card = tmp_path / "towers" / "README.md"
    assert "tokens" not in visible(card.read_text("utf-8")).split("## Use it for QLoRA")[0]
    build(write(FOREIGN), out=tmp_path / "towers")
    assert "Measured with [splintr-rs]" in card.read_text("utf-8")


def test_without_the_extra_the_release_is_not_called_stale(tmp_path: Path) -> None:
    done = without_splintr(tmp_path, "build", "--out", str(PACKAGED), "--check")
    assert (done.returncode, done.stdout) == (0, f"{PACKAGED} is up to date\n"), done.stderr


def test_the_readme_names_every_field() -> None:
    readme = (CHECKOUT / "README.md").read_text("utf-8")
    named = {*re.findall(r"`([a-z_]+)`", readme), *re.findall(r"^([a-z_]+): ", readme, re.MULTILINE), "title"}
    assert set(fields.KNOWN) - named - {"license", "language"} == set()
