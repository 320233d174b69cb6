"""The POSIX lock that a tgtd holds on ``socket.N.lock`` while it lives: it names the process of control port N.

The kernel tells the holder (F_GETLK in fcntl(2)) without a word to tgtd, also of one that is stopped.
"""

import fcntl
import os
import struct
from pathlib import Path

#: struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi")


def lock_path(socket_path: Path) -> Path:
    """Return the lock file of a management socket."""
    return socket_path.with_name(f"{socket_path.name}.lock")


def holder(socket_path: Path) -> int | None:
    """Return the pid of the tgtd that has the management socket, None when there is none."""
    try:
        descriptor = os.open(lock_path(socket_path), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid
