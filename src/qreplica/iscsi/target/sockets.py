"""The sockets of another process, for as long as they are looked at (pidfd_getfd(2))."""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

#: The number that the call has on every architecture; neither libc nor Python may know it.
_PIDFD_GETFD = 438


def tcp_sockets(pid: int, stack: contextlib.ExitStack) -> Iterator[socket.socket]:
    """Yield second handles of the TCP sockets that the process has open, which ``stack`` closes. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    stack.callback(os.close, pidfd)
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            handle = libc.syscall(_PIDFD_GETFD, pidfd, int(entry.name), 0)
            if handle < 0:
                number = ctypes.get_errno()
                if number == errno.EBADF:
                    continue  # closed since it was listed
                raise OSError(number, os.strerror(number))
            found = stack.enter_context(socket.socket(fileno=handle))
            if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                yield found
