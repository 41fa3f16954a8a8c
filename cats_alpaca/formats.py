"""Stories become rows: pure functions from Arrow to Arrow, one a published config.

Every config has the same rows in the same order. All columns are plain `string`, never null, so that every trainer and
every `datasets` version reads them alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from .stories import SCHEMA as STORIES
from .stories import as_strings

ALPACA = pa.schema([(name, pa.string()) for name in ("instruction", "input", "output")])
CHAT = pa.schema({"messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))}.items())
PROMPT_COMPLETION = pa.schema([(name, pa.string()) for name in ("prompt", "completion")])

# The two prompts of Stanford Alpaca (github.com/tatsu-lab/stanford_alpaca, train.py), which trainers call "alpaca".
# Ours end in a newline: with it, and a stripped answer, no tokenizer merges the prompt's end with the answer's start.
_WITH_INPUT = as_strings(
    [
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n### Instruction:\n",
        "\n\n### Input:\n",
        "\n\n### Response:\n",
    ]
)
_WITHOUT_INPUT = as_strings(
    [
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n### Instruction:\n",
        "\n\n### Response:\n",
    ]
)
TURNS = pa.schema(
    [(name, pa.string()) for name in ("id", "question", "context", "experience", "answer", "verdict", "correction")]
)
"""What a feedback store gives: a question, the model's answer, `up` or `down`, and the person's correction."""
PREFERENCE = pa.schema([(name, pa.string()) for name in ("prompt", "chosen", "rejected")])
KTO = pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("label", pa.bool_())])

_EMPTY, _BLANK_LINE, _USER, _ASSISTANT = as_strings(["", "\n\n", "user", "assistant"])


def to_alpaca(stories: pa.RecordBatch) -> pa.RecordBatch:
    """Map stories to Alpaca rows; `input` is the context, or an empty string.

    >>> to_alpaca(example()).to_pylist()
    [{'instruction': 'なぜ鳴くの？', 'input': '朝だけ鳴く。', 'output': 'お腹がすくからです。'}]
    """
    return pa.RecordBatch.from_arrays([stories[name] for name in ("question", "context", "answer")], schema=ALPACA)


def to_chat(stories: pa.RecordBatch) -> pa.RecordBatch:
    r"""Map stories to conversations: the user's question, a blank line and the context if there is one; the answer.

    There is no system message and no template: the trainer's tokenizer brings its own.

    >>> to_chat(example()).to_pylist()[0]["messages"][0]
    {'role': 'user', 'content': 'なぜ鳴くの？\n\n朝だけ鳴く。'}
    """
    import pyarrow.compute as pc  # slow to import, and not needed for the default config

    rows = stories.num_rows
    user = _either(
        stories["context"],
        pc.binary_join_element_wise(stories["question"], stories["context"], _BLANK_LINE),
        stories["question"],
    )
    turns = np.arange(2 * rows).reshape(2, rows).T.ravel()  # every question, then every answer → in turn
    content = pa.concat_arrays([user, stories["answer"]]).take(_as_integers(turns))
    role = pa.concat_arrays([pa.repeat(_USER, rows), pa.repeat(_ASSISTANT, rows)]).take(_as_integers(turns))
    type_ = CHAT.field("messages").type
    message = pa.StructArray.from_arrays([role, content], fields=list(type_.value_type))
    offsets = _as_integers(np.arange(0, 2 * rows + 1, 2))
    return pa.RecordBatch.from_arrays([pa.ListArray.from_arrays(offsets, message, type=type_)], schema=CHAT)


def to_prompt_completion(stories: pa.RecordBatch) -> pa.RecordBatch:
    r"""Map stories to Stanford Alpaca's prompt and the bare answer, without begin or end token.

    >>> to_prompt_completion(example()).to_pylist()[0]["prompt"].partition("Instruction:\n")[2]
    'なぜ鳴くの？\n\n### Input:\n朝だけ鳴く。\n\n### Response:\n'
    """
    import pyarrow.compute as pc

    question, context = stories["question"], stories["context"]
    head, middle, tail = _WITH_INPUT
    with_input = pc.binary_join_element_wise(head, question, middle, context, tail, _EMPTY)
    head, tail = _WITHOUT_INPUT
    prompt = _either(context, with_input, pc.binary_join_element_wise(head, question, tail, _EMPTY))
    return pa.RecordBatch.from_arrays([prompt, stories["answer"]], schema=PROMPT_COMPLETION)


def to_stories(stories: pa.RecordBatch) -> pa.RecordBatch:
    """Give the stories as they are: for people, for filtering, review and withdrawal.

    >>> to_stories(example()) == example()
    True
    """
    return stories


def turns_to_stories(turns: pa.RecordBatch) -> pa.RecordBatch:
    """Map turns to stories: the person's correction, or else the answer where it was judged good.

    >>> turns_to_stories(example_turn()).to_pylist()[0]["answer"]
    '朝ごはんの催促です。'
    """
    import pyarrow.compute as pc

    corrected = pc.not_equal(turns["correction"], _EMPTY)
    answer = pc.if_else(corrected, turns["correction"], turns["answer"])
    columns = {name: turns[name] for name in turns.schema.names} | {"answer": answer}
    columns["topic"] = pa.repeat(_EMPTY, turns.num_rows)
    stories = pa.RecordBatch.from_arrays([columns[name] for name in STORIES.names], schema=STORIES)
    return stories.filter(pc.or_(corrected, pc.equal(turns["verdict"], "up")))


def to_preference(turns: pa.RecordBatch) -> pa.RecordBatch:
    """Map turns to what DPO takes: the person's correction before the model's answer; other turns give no row.

    >>> {key: text for key, text in to_preference(example_turn()).to_pylist()[0].items() if key != "prompt"}
    {'chosen': '朝ごはんの催促です。', 'rejected': 'わかりません。'}
    """
    import pyarrow.compute as pc

    turns = turns.filter(pc.and_(pc.not_equal(turns["correction"], _EMPTY), pc.not_equal(turns["answer"], _EMPTY)))
    columns = [to_prompt_completion(turns)["prompt"], turns["correction"], turns["answer"]]
    return pa.RecordBatch.from_arrays(columns, schema=PREFERENCE)


def to_kto(turns: pa.RecordBatch) -> pa.RecordBatch:
    """Map turns to what KTO takes: the model's answers with their verdicts, then the corrections, which are good.

    >>> [(row["completion"], row["label"]) for row in to_kto(example_turn()).to_pylist()]
    [('わかりません。', False), ('朝ごはんの催促です。', True)]
    """
    import pyarrow.compute as pc

    judged = turns.filter(pc.and_(pc.not_equal(turns["answer"], _EMPTY), pc.not_equal(turns["verdict"], _EMPTY)))
    corrected = turns.filter(pc.not_equal(turns["correction"], _EMPTY))
    columns = (
        [to_prompt_completion(some)["prompt"] for some in (judged, corrected)],
        [judged["answer"], corrected["correction"]],
        [pc.equal(judged["verdict"], "up"), pc.not_equal(corrected["correction"], _EMPTY)],
    )
    return pa.RecordBatch.from_arrays([pa.concat_arrays(pair) for pair in columns], schema=KTO)


def example_turn() -> pa.RecordBatch:
    """Give one small turn of a feedback store, for the examples here.

    >>> example_turn().num_rows
    1
    """
    story = example().to_pylist()[0]
    turn = {**story, "id": "fb-0", "answer": "わかりません。", "verdict": "down", "correction": "朝ごはんの催促です。"}
    return pa.RecordBatch.from_pylist([{name: turn[name] for name in TURNS.names}], TURNS)


def example() -> pa.RecordBatch:
    """Give one small story, for the examples here and a first try at a prompt.

    >>> example().num_rows
    1
    """
    story = {
        "id": "neko-0000",
        "topic": "behaviour",
        "question": "なぜ鳴くの？",
        "answer": "お腹がすくからです。",
        "context": "朝だけ鳴く。",
        "experience": "own",
    }
    return pa.RecordBatch.from_pylist([story], STORIES)


def _as_integers(numbers: np.ndarray) -> pa.Array:
    """Do what `pa.array` does, which would import pandas."""
    return pa.Array.from_buffers(pa.int32(), len(numbers), [None, pa.py_buffer(numbers.astype(np.int32))])


def _either(context: pa.Array, with_context: pa.Array, without: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(context, _EMPTY), without, with_context)


CONFIGS: dict[str, tuple[pa.Schema, Callable[[pa.RecordBatch], pa.RecordBatch]]] = {
    "alpaca": (ALPACA, to_alpaca),
    "chat": (CHAT, to_chat),
    "prompt_completion": (PROMPT_COMPLETION, to_prompt_completion),
    "stories": (STORIES, to_stories),
}
"""Every published config: its schema and its mapping. The first one is the default."""

FEEDBACK_CONFIGS: dict[str, tuple[pa.Schema, Callable[[pa.RecordBatch], pa.RecordBatch]]] = {
    "preference": (PREFERENCE, to_preference),
    "kto": (KTO, to_kto),
}
"""The configs that are published besides when a feedback store gives rows for them, in the train split only."""

SCHEMAS = {name: schema for name, (schema, _) in (CONFIGS | FEEDBACK_CONFIGS).items()}
"""The schema of every config that may be in a release."""

DEFAULT_CONFIG = next(iter(CONFIGS))
