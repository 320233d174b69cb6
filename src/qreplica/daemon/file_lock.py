"""Locks between the daemons of both controllers: files, whose locks the kernel gives back whatever ends a daemon."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qreplica.locks import attempt

_POLL = 0.02


@contextmanager
def holding(file: Path, patience: float | None = None) -> Iterator[bool]:
    """Hold the file's lock (flock(2)); give whether it was got within ``patience`` seconds, None for however long."""
    deadline = None if patience is None else time.monotonic() + patience
    file.parent.mkdir(parents=True, exist_ok=True)
    # Closing it gives the lock back. Each call opens it anew, so that threads of one process wait for each other too.
    with file.open("a") as opened:
        yield attempt(lambda: fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB), deadline, _POLL)
