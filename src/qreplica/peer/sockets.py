"""TCP connections that have their socket options from before the first packet, which httpx does not offer.

What binds a socket to a network interface (socket(7), SO_BINDTODEVICE) would let a connection be made over any other.
"""

import select
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import httpcore
import httpx

SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray]


def connected(address: str, port: int, options: Sequence[SocketOption], timeout: float | None) -> socket.socket:
    """Return a socket that is connected within ``timeout`` seconds. Raises OSError."""
    link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        for option in options:
            link.setsockopt(*option)
        link.settimeout(timeout)
        link.connect((address, port))
    except OSError:
        link.close()
        raise
    return link


class Transport(httpx.HTTPTransport):
    """Plain HTTP over such connections, one for each request."""

    def __init__(self, options: Sequence[SocketOption]) -> None:
        # Without a context of ours it would load every certificate authority of the system, for plain HTTP.
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        self._pool = httpcore.ConnectionPool(max_keepalive_connections=0, network_backend=_Backend(options))


class _Backend(httpcore.NetworkBackend):
    def __init__(self, options: Sequence[SocketOption]) -> None:
        self._options = options

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - see httpcore
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - see httpcore
    ) -> httpcore.NetworkStream:
        try:
            link = connected(host, port, self._options, timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(link)


class _Stream(httpcore.NetworkStream):
    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._link.settimeout(timeout)
        try:
            return self._link.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._link.settimeout(timeout)
        try:
            self._link.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._link.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as in httpcore
        if info == "socket":
            return self._link
        if info == "is_readable":
            return bool(select.select([self._link], [], [], 0)[0])
        return None
