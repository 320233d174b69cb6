"""How fast the path itself is: one TCP connection on loopback, one sender and one receiver process."""

import os
import socket
import time

from qreplica.units import KIB, MIB

_SENT, _RECEIVED = 256 * KIB, MIB


def seconds_for(size: int) -> float:
    """Return how long ``size`` bytes take from a process to another, until the last one has arrived."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if child == 0:
            _receive(server, size)
        with socket.create_connection(server.getsockname()) as connection:
            buffer = b"\x5a" * _SENT
            began = time.perf_counter()
            for _ in range(0, size, _SENT):
                connection.sendall(buffer)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            seconds = time.perf_counter() - began
        os.waitpid(child, 0)
    return seconds


def _receive(server: socket.socket, size: int) -> None:
    """Take everything, say so, and end this process."""
    code = 1
    try:
        connection, _ = server.accept()
        into = bytearray(_RECEIVED)
        left = size
        while left > 0 and (got := connection.recv_into(into)):
            left -= got
        connection.sendall(b"!")
        code = 0
    finally:
        os._exit(code)
