"""Asks a target's daemon for a sign of life, beside a request that it works on."""

import time
from collections.abc import Sequence

from qreplica.peer.sockets import SocketOption, connected

#: What is asked for: it needs no signature, and the target's event loop answers it however busy its threads are.
PATH = "/peer/v1/alive"


def lives(address: str, port: int, options: Sequence[SocketOption], patience: float) -> bool:
    """Tell whether any byte of an answer comes from there within ``patience`` seconds.

    What it says does not matter: the kernel accepts a connection for a daemon that hangs, but answers nothing.
    """
    deadline = time.monotonic() + patience
    host = f"[{address}]" if ":" in address else address
    try:
        with connected(address, port, options, patience) as link:
            link.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            link.settimeout(left)
            return bool(link.recv(1))
    except OSError:
        return False
