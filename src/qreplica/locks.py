"""Waiting for locks of files that other processes hold (flock(2), fcntl(2)); the kernel gives them back with these."""

import time
from collections.abc import Callable


def attempt(take: Callable[[], object], deadline: float | None, poll: float) -> bool:
    """Return whether ``take``, tried every ``poll`` seconds, no longer raises BlockingIOError.

    It is tried until ``deadline`` (of time.monotonic), once at least; None for however long it takes.
    """
    while True:
        try:
            take()
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(poll)
        else:
            return True
