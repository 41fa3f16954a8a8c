"""The mapping: stories in, rows out, value for value."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cats_alpaca.formats import CONFIGS, DEFAULT_CONFIG, to_alpaca, to_chat, to_prompt_completion, to_stories
from cats_alpaca.stories import SCHEMA

WITH_CONTEXT = {
    "id": "neko-1",
    "topic": "respiratory",
    "question": "くしゃみが出ます。",
    "answer": "二年前と同じですね。",
    "context": "二年前にもくしゃみ。",
    "experience": "own",
}
WITHOUT = {"id": "", "topic": "", "question": "鳴く\nなぜ？", "answer": "朝です。", "context": "", "experience": ""}
STORIES = pa.RecordBatch.from_pylist([WITH_CONTEXT, WITHOUT], SCHEMA)


def test_alpaca_is_question_context_answer_in_this_order() -> None:
    assert to_alpaca(STORIES).to_pylist() == [
        {"instruction": "くしゃみが出ます。", "input": "二年前にもくしゃみ。", "output": "二年前と同じですね。"},
        {"instruction": "鳴く\nなぜ？", "input": "", "output": "朝です。"},
    ]
    assert to_alpaca(STORIES).schema.names == ["instruction", "input", "output"]


def test_chat_is_user_then_assistant_and_the_context_follows_the_question() -> None:
    assert to_chat(STORIES).to_pylist() == [
        {
            "messages": [
                {"role": "user", "content": "くしゃみが出ます。\n\n二年前にもくしゃみ。"},
                {"role": "assistant", "content": "二年前と同じですね。"},
            ]
        },
        {"messages": [{"role": "user", "content": "鳴く\nなぜ？"}, {"role": "assistant", "content": "朝です。"}]},
    ]


def test_prompt_completion_is_the_stanford_prompt_and_the_bare_answer() -> None:
    assert to_prompt_completion(STORIES).to_pylist() == [
        {
            "prompt": "Below is an instruction that describes a task, "
            "paired with an input that provides further context. "
            "Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nくしゃみが出ます。\n\n### Input:\n二年前にもくしゃみ。\n\n### Response:\n",
            "completion": "二年前と同じですね。",
        },
        {
            "prompt": "Below is an instruction that describes a task. "
            "Write a response that appropriately completes the request.\n\n"
            "### Instruction:\n鳴く\nなぜ？\n\n### Response:\n",
            "completion": "朝です。",
        },
    ]


def test_stories_are_the_records_themselves() -> None:
    assert to_stories(STORIES).to_pylist() == [WITH_CONTEXT, WITHOUT]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_keeps_its_schema_and_its_rows_whatever_the_slice(config: str) -> None:
    schema, to_rows = CONFIGS[config]
    assert to_rows(STORIES).schema.equals(schema, check_metadata=True)
    for start, length in ((0, 0), (0, 1), (1, 1), (0, 2)):
        rows = to_rows(STORIES.slice(start, length))
        rows.validate(full=True)
        assert rows.to_pylist() == to_rows(STORIES).to_pylist()[start : start + length]


def test_alpaca_is_the_default() -> None:
    assert DEFAULT_CONFIG == "alpaca"
