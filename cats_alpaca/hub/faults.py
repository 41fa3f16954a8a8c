"""Which errors of the Hub pass by themselves, how long to wait for that, and what to say of the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from ..errors import HubError

if TYPE_CHECKING:
    from httpx2 import Response

_ATTEMPTS = 5
_LONGEST_WAIT = 300.0
Result = TypeVar("Result")


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status that an error carries, if it carries one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_race(error: BaseException) -> bool:
    """Tell whether the Hub refused a commit because somebody else made one since we looked."""
    return status_of(error) in (409, 412)


def is_transient(error: BaseException) -> bool:
    """Tell whether an error may be gone at the next attempt.

    >>> is_transient(json.JSONDecodeError("an HTML page where JSON should be", "<html>", 0))
    True
    >>> is_transient(PermissionError("no such right"))
    False
    """
    status = status_of(error)
    if status is not None:
        return status in (408, 425, 429) or status >= 500
    if type(error).__name__ == "OfflineModeIsEnabled":
        return False
    if isinstance(error, RuntimeError):
        # The client wraps whatever befell a file's upload. Refused after it was sent, it arrived damaged.
        cause = error.__cause__
        return cause is not None and (is_transient(cause) or status_of(cause) in (400, 409, 412, 422))
    # The client's HTTP library is httpx up to huggingface_hub 1, httpx2 from 2 on; their errors share names only.
    parents = {parent.__name__ for parent in type(error).__mro__ if parent.__module__.startswith("httpx")}
    in_transport = "TransportError" in parents and not parents & {"LocalProtocolError", "UnsupportedProtocol"}
    return in_transport or isinstance(error, (json.JSONDecodeError, ConnectionError, TimeoutError))


def wait_asked_for(error: BaseException) -> float | None:
    """Read how many seconds the Hub asks to wait, in its answer or in that which the client wrapped."""
    answers = (getattr(one, "response", None) for one in (error, error.__cause__))
    asked = (seconds_asked(answer) for answer in answers if answer is not None)
    return next((seconds for seconds in asked if seconds is not None), None)


def seconds_asked(response: Response) -> float | None:
    """Read it from `RateLimit`, when nothing is left of what that allows, or `Retry-After`, a number or a date."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


class Patience:
    """Counts attempts and waits between them: 1, 2, 4, 8 seconds, or as long as the Hub asks.

    One is shared by all steps of a push, so that trouble that lasts ends it whatever step it meets.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self.notice = notice
        self.failed = 0

    def wait(self, error: BaseException) -> None:
        """Wait before the next attempt.

        Raises:
            HubError: when the error will not pass, or has not passed for too long.
        """
        self.failed += 1
        asked = wait_asked_for(error)
        if not is_transient(error) or self.failed >= _ATTEMPTS or (asked or 0) > _LONGEST_WAIT:
            raise explained(error) from error
        seconds = asked if asked is not None else 2.0 ** (self.failed - 1)
        self.notice(f"{_first_line(error)}: trying again in {seconds:,.0f} s")
        time.sleep(seconds)

    def insist(self, step: Callable[[], Result]) -> Result:
        """Take a step that can be taken again, until it succeeds."""
        while True:
            try:
                return step()
            except HubError:
                raise
            except Exception as error:
                self.wait(error)


_SENTENCES = {
    401: "The token is not valid here. Log in again (hf auth login), or give another with --token",
    403: "The token may not do this. Make one with write access to this repository at the Hub, under Settings, Access "
    "Tokens; if it has that, the account's storage may be full",
    404: "The Hub does not know this repository or revision, or the token may not see it",
    408: "The Hub took too long",
    413: "The Hub finds it too large",
    429: "The Hub asks for patience: too many requests",
}


def explained(error: BaseException) -> HubError:
    """Turn an error of the client into one sentence that names the next step."""
    if isinstance(error, HubError):
        return error
    status = status_of(error) or status_of(error.__cause__ or error)
    server = getattr(error, "server_message", None)
    said = f" (it said: {' '.join(str(server).split())[:300]})" if server else ""
    asked = wait_asked_for(error)
    if asked:
        return HubError(
            f"The Hub asks to wait {asked:,.0f} seconds; run the same command again then. What was sent is kept"
        )
    if status in _SENTENCES:
        return HubError(f"{_SENTENCES[status]}{said}")
    if is_transient(error):
        what = f"answered {status}" if status else f"could not be reached ({_first_line(error)})"
        return HubError(
            f"The Hub {what}, again and again. The repository is as it was or as it should be, never between; run the "
            f"same command later, and it goes on where it stopped{said}"
        )
    what = " ".join(str(error).split()) if isinstance(error, ValueError) else _first_line(error)
    return HubError(f"The Hub refused: {what}{said}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _refuse_long_wait(response: Response) -> None:
    from huggingface_hub.utils._http import hf_raise_for_status

    if response.is_error and (seconds_asked(response) or 0) > _LONGEST_WAIT:
        response.read()
        hf_raise_for_status(response)


@contextmanager
def client_settings(timeout: float) -> Iterator[None]:
    """Make the client give up on a request that is silent for so many seconds; it would wait for ever.

    And on one that it is asked to make again in more than five minutes: it would sleep till then, be it a day.

    What is changed in the client meanwhile is undone at the end: the program around us may use it too.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http

    usual, without_xet = _http._GLOBAL_CLIENT_FACTORY, constants.HF_HUB_DISABLE_XET

    def make_client() -> object:
        client = usual()
        client.timeout = timeout
        client.event_hooks["response"].append(_refuse_long_wait)
        return client

    set_client_factory(make_client)  # type: ignore[arg-type]
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = without_xet
        set_client_factory(usual)


def leave_out_xet(error: BaseException) -> bool:
    """After an error of Xet, the Hub's own protocol for large files, go on with plain HTTP; tell whether it was one.

    A mirror of the Hub may not offer Xet, and a firewall may not let it through.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_XET or type(error) is not ConnectionError or "xet" not in str(error).lower():
        return False
    constants.HF_HUB_DISABLE_XET = True
    return True
