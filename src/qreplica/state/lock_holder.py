"""Which process holds the write lock of a SQLite database: ``python -m qreplica.state.lock_holder FILE`` prints it.

A process of its own asks, because closing any descriptor of a file gives back all POSIX locks that a process has on it
(fcntl(2)), and SQLite's are such. In WAL mode the write lock is a byte of the file ``-shm`` beside the database
(sqlite.org/walformat.html, “WAL Locks”).
"""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

_WAL_WRITE_LOCK = 120
#: struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi")
_PATIENCE = 10.0


def holder(database: Path) -> int | None:
    """Return the pid of who holds the write lock now; None when nobody does, or it cannot be told."""
    command = [sys.executable, "-m", "qreplica.state.lock_holder", str(database)]
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
        return int(done.stdout)
    return None


def _ask(database: Path) -> int | None:
    """As ``holder``, but for a process that has no lock of its own there. Raises OSError."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WAL_WRITE_LOCK, 1, 0)
    with database.with_name(f"{database.name}-shm").open("rb") as shared:
        kind, *_, pid = _FLOCK.unpack(fcntl.fcntl(shared, fcntl.F_GETLK, asked))
    # Of a lock that belongs to an open file, and to no process, it is -1; of one outside our pid namespace, 0.
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None


if __name__ == "__main__":
    found = _ask(Path(sys.argv[1]))
    if found is not None:
        print(found)
