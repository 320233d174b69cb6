"""Locks between the daemons of both controllers: files, whose locks the kernel gives back whatever ends a daemon."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL = 0.02


@contextmanager
def holding(file: Path, patience: float | None = None) -> Iterator[bool]:
    """Hold the file's lock (flock(2)); give whether it was got within ``patience`` seconds, None for however long."""
    deadline = None if patience is None else time.monotonic() + patience
    file.parent.mkdir(parents=True, exist_ok=True)
    # Closing it gives the lock back. Each call opens it anew, so that threads of one process wait for each other too.
    with file.open("a") as opened:
        while not (got := _attempt(opened.fileno())) and (deadline is None or time.monotonic() < deadline):
            time.sleep(_POLL)
        yield got


def _attempt(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
