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

DEFAULT_CONFIG = next(iter(CONFIGS))
