"""How often one person may do something: a bucket of tokens that fills again with time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def new_limiter(most: float, each_second: float) -> Callable[[str, float], bool]:
    """Give what takes tokens from somebody's bucket, and says whether there were enough.

    Args:
        most: how many tokens a bucket holds at first and at most.
        each_second: how many come back in a second.

    >>> take = new_limiter(2, 0.001)
    >>> take("me", 1), take("me", 1), take("me", 1), take("you", 1)
    (True, True, False, True)
    """
    buckets: dict[str, tuple[float, float]] = {}
    lock = threading.Lock()

    def take(who: str, cost: float) -> bool:
        now = time.monotonic()
        with lock:
            left, since = buckets.get(who, (most, now))
            left = min(most, left + (now - since) * each_second)
            buckets[who] = (left - cost if left >= cost else left, now)
        return left >= cost

    return take
