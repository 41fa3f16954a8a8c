"""A question becomes a turn at once, with what is recalled for it; then a model may draft the answer.

The model is behind any address that speaks OpenAI's chat completions, such as llama.cpp's or vLLM's. Whatever it does,
the question is safe: it was written down before.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from ..errors import FeedbackError, ModelError
from .recall import FEELING, MAX_CHARACTERS, recall
from .store import (
    ANSWER,
    NAME,
    NOTE,
    QUESTION,
    Store,
    Turn,
    checked,
    checked_date,
    find_turn,
    insert_turn,
    new_id,
    writing,
)

CONNECT_SECONDS, TOTAL_SECONDS = 10.0, 120.0
_MOST_BYTES = 1 << 20
_Result = TypeVar("_Result")


def ask(
    store: Store,
    who: str,
    cat: str,
    question: str,
    *,
    feeling: str = "",
    date: str | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> Turn:
    """Write a question down with what is recalled for it; when this returns, it is safe on the disk.

    Args:
        store: the open store.
        who: the contributor who asks.
        cat: the name of their cat.
        question: up to 2,000 characters.
        feeling: how they feel now; it stands at the end of the context.
        date: the day, as YYYY-MM-DD; None is today.
        max_characters: how long what is recalled may be.

    Raises:
        FeedbackError: when a text or the date cannot be taken, or there is no such contributor.
    """
    id_ = new_id("fb")
    fields = {
        "cat": checked("cat", cat, NAME, required=True),
        "date": checked_date(date),
        "question": checked("question", question, QUESTION, required=True),
    }
    feeling = checked("feeling", feeling, NOTE)
    with writing(store):
        found = recall(store, who, fields["cat"], fields["question"], max_characters=max_characters)
        fields["context"] = "\n".join(filter(None, (found.text, f"{FEELING}{feeling}" if feeling else "")))
        fields["experience"] = found.kind or ("own" if feeling else "")
        insert_turn(store, who, id_, fields, found.experiences)
    return find_turn(store, who, id_)


def draft(
    store: Store,
    who: str,
    turn: str,
    url: str,
    *,
    model: str = "",
    key: str = "",
    connect_seconds: float = CONNECT_SECONDS,
    total_seconds: float = TOTAL_SECONDS,
) -> Turn:
    """Have a model answer a turn that has no answer yet, and keep the answer with it.

    Args:
        store: the open store.
        who: the contributor whose turn it is.
        turn: its id.
        url: the base address, such as `http://localhost:8080/v1`; the question and its context are sent there.
        model: the model's name there, where the server wants one.
        key: sent as a bearer token, where the server wants one.
        connect_seconds: how long to wait for a connection.
        total_seconds: how long to wait in all.

    Raises:
        ModelError: when there is no answer that can be used.
        FeedbackError: when the contributor has no such turn, or it has an answer already.
    """
    found = find_turn(store, who, turn)
    if found.answer:
        raise FeedbackError(f"{turn} has an answer already; ask again to get another")
    question = f"{found.question}\n\n{found.context}" if found.context else found.question  # as in the config `chat`
    try:
        answer, name = _within(
            total_seconds, lambda: _complete(url, question, model, key, connect_seconds, total_seconds)
        )
    except ModelError as error:
        raise ModelError(f"{url}: {error}; your question is kept as {turn}") from error
    with writing(store):
        kept = store.execute(
            # Meanwhile, what the answer was made from may have been taken back.
            "UPDATE turns SET answer = ?, model = ? WHERE id = ? AND answer = '' AND question = ? AND context = ?",
            (answer, name, turn, found.question, found.context),
        ).rowcount
    if not kept:
        raise FeedbackError(f"{turn} was changed or withdrawn while the model answered; the answer was thrown away")
    return find_turn(store, who, turn)


def _within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """Do something in a thread and wait no longer than that, whatever it waits for: a name, a byte, the end."""
    results: queue.Queue[_Result | Exception] = queue.Queue()

    def run() -> None:
        try:
            results.put(work())
        except Exception as error:
            results.put(error)

    threading.Thread(target=run, name="model", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise ModelError(f"the model gave no answer within {seconds:g} seconds; try again") from None
    if isinstance(result, Exception):
        raise result
    return result


def _complete(url: str, question: str, model: str, key: str, seconds: float, total: float) -> tuple[str, str]:
    body = {"messages": [{"role": "user", "content": question}], **({"model": model} if model else {})}
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    connection, path = _connection(url, seconds)
    try:
        connection.connect()
        connection.sock.settimeout(total)  # it may think for long, and the whole has its limit besides
        connection.request("POST", f"{path}/chat/completions", json.dumps(body).encode(), headers)
        with connection.getresponse() as response:
            content = response.read(_MOST_BYTES + 1)
            if response.length and len(content) <= _MOST_BYTES:
                raise http.client.IncompleteRead(content, response.length)
    except TimeoutError:
        limits = f"no connection within {seconds:g} seconds, or no answer within {total:g}"
        raise ModelError(f"{limits}; is the server up?") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ModelError(f"the model cannot be reached: {str(error) or type(error).__name__}; is it up?") from error
    finally:
        connection.close()
    if response.status != 200:
        # No word of a redirect: the key and the question go to nobody but whom the user named.
        status = f"{response.status} {response.reason}"
        raise ModelError(f"the server answered {status}{_told(content)}; check address and model")
    return _read_answer(content, model)


def _connection(url: str, seconds: float) -> tuple[http.client.HTTPConnection, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ModelError(f"this is no address: {error}") from None
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not host:
        raise ModelError("this is no address of a model; write one like http://localhost:8080/v1")
    return kinds[parts.scheme](host, port, timeout=seconds), parts.path.rstrip("/")


def _told(content: bytes) -> str:
    """Give what a server says of its own failure, where it says it as OpenAI's does, in one short line."""
    try:
        message = json.loads(content)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(message))
    return f" ({shown[:200]})"


def _read_answer(content: bytes, model: str) -> tuple[str, str]:
    if len(content) > _MOST_BYTES:
        raise ModelError(f"the server sent more than {_MOST_BYTES:,} bytes; is this a model?")
    try:
        reply = json.loads(content)
        answer, name = reply["choices"][0]["message"]["content"], reply.get("model", model)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError("the server's reply is no chat completion; does the address end in /v1?") from None
    if not isinstance(answer, str):
        raise ModelError("the model's answer is no text; try again")
    try:
        return checked("the model's answer", answer, ANSWER, required=True), checked("model", str(name), 200)
    except FeedbackError as error:
        raise ModelError(f"{error}; try again") from None
