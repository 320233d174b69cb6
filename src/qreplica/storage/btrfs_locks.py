"""Machine-wide locks, held by this process and by every program that it runs meanwhile.

A program outlives whoever ran it and was killed, and what it asks of the kernel is done to the end whatever befalls it.
So a lock is free only when both are gone: who gets it next meets nothing that is still coming.
"""

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from qreplica.locks import attempt
from qreplica.storage.errors import GroupLocked

_PATIENCE, _POLL = 120.0, 0.01
#: struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi")
_held: ContextVar[tuple[int, ...]] = ContextVar("held", default=())


def held() -> tuple[int, ...]:
    """Return the file descriptors of the locks that this thread holds, for the programs that it runs to share."""
    return _held.get()


@contextlib.contextmanager
def locked(lock: Path, group: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of an RG (flock(2) on ``lock``).

    Raises GroupLocked when another holds it for longer than ``patience`` seconds.
    """
    with _holding(lock, group, patience, lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)):
        yield


@contextlib.contextmanager
def alone_with(lock: Path, snapshot: str, group: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of one snapshot of an RG: a byte of ``lock`` (F_OFD_SETLK in fcntl(2)), seldom another's too.

    Raises GroupLocked as ``locked`` does.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, zlib.crc32(snapshot.encode()), 1, 0)
    with _holding(lock, group, patience, lambda file: fcntl.fcntl(file, fcntl.F_OFD_SETLK, asked)):
        yield


@contextlib.contextmanager
def _holding(lock: Path, group: str, patience: float, take: Callable[[int], object]) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with lock.open("a") as file:
        if not attempt(lambda: take(file.fileno()), deadline, _POLL):
            raise GroupLocked(group=group, seconds=patience)
        outer = _held.set((*_held.get(), file.fileno()))
        try:
            yield
        finally:
            _held.reset(outer)
