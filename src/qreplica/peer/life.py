"""Asks a target's daemon for a sign of life, beside a request that it works on."""

import socket
import time
from collections.abc import Sequence
from typing import TypeAlias

#: What is asked for: it needs no signature, and the target's event loop answers it however busy its threads are.
PATH = "/peer/v1/alive"

SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray]


def lives(address: str, port: int, options: Sequence[SocketOption], patience: float) -> bool:
    """Tell whether any byte of an answer comes from there within ``patience`` seconds.

    What it says does not matter: the kernel accepts a connection for a daemon that hangs, but answers nothing.
    """
    deadline = time.monotonic() + patience
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    host = f"[{address}]" if family is socket.AF_INET6 else address
    try:
        with socket.socket(family, socket.SOCK_STREAM) as link:
            for option in options:
                link.setsockopt(*option)
            link.settimeout(patience)
            link.connect((address, port))
            link.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            link.settimeout(left)
            return bool(link.recv(1))
    except OSError:
        return False
