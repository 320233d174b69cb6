"""One bounded HTTP exchange with a target portal: bounded in time, in size, and to one network interface."""

import functools
import socket
from dataclasses import dataclass

import httpx

from qreplica.peer.deadline import Deadline
from qreplica.peer.errors import PeerAnswersGarbage, PeerFailed, PeerUnreachable
from qreplica.peer.life import lives
from qreplica.peer.sockets import SocketOption, Transport
from qreplica.units import MIB, format_size

#: No answer of the conversation comes near this (bytes).
ANSWER_LIMIT = MIB
#: Seconds without a sign of life after which a connection is given up: from the other side's kernel, from its daemon.
KERNEL_SILENCE, DAEMON_SILENCE = 10, 6.0
_ASK_AFTER, _ASK_EVERY = 4, 3


class _TooLargeError(Exception):
    """The answer goes on beyond ANSWER_LIMIT."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the headers and the whole body."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def success(self) -> bool:
        """Whether the request was obeyed (RFC 9110, 15.3); a redirect is none."""
        return httpx.codes.is_success(self.status)


class Wire:
    """The way to one portal. Each exchange has a connection of its own, made within ``timeout`` seconds.

    It goes on for as long as the daemon works on the answer, though not once that one has shown no sign of life for
    ``silence`` seconds. Proxies and other settings of the environment are not looked at, redirects not followed.
    """

    def __init__(self, address: str, port: int, interface: str | None, timeout: float, silence: float) -> None:
        self.address = address
        self.port = port
        self.timeout = timeout
        self._silence = silence
        options = _options(interface)
        self._lives = functools.partial(lives, address, port, options)
        self._http = httpx.Client(
            base_url=f"http://{address}:{port}",
            transport=Transport(options),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"},
            trust_env=False,
        )

    def close(self) -> None:
        """Close what is open. Idempotent."""
        self._http.close()

    def prepare(self, method: str, path: str, body: bytes) -> httpx.Request:
        """Return the request to be sent; its ``url.raw_path`` is what the target will see."""
        headers = {"Content-Type": "application/json"} if body else {}
        return self._http.build_request(method, path, content=body, headers=headers)

    def exchange(self, request: httpx.Request, seconds: float) -> Answer:
        """Send ``request`` and return the answer, complete within ``seconds``.

        Raises PeerUnreachable, PeerAnswersGarbage.
        """
        limits = httpx.Timeout(seconds, connect=min(self.timeout, seconds))
        begun = False
        with Deadline(seconds, self._lives, self._silence) as deadline:
            request.extensions = {"trace": deadline.trace, "timeout": limits.as_dict()}
            try:
                response = self._http.send(request, stream=True)
                begun = True
                try:
                    return Answer(response.status_code, response.headers, _body(response))
                finally:
                    response.close()
            except _TooLargeError as error:
                raise self.garbage(f"it sends more than {format_size(ANSWER_LIMIT)}") from error
            except httpx.TransportError as error:
                if deadline.passed:
                    raise self._unreachable(deadline.passed) from error
                raise self._failure(error, begun=begun) from error

    def garbage(self, reason: str) -> PeerAnswersGarbage:
        """Return the error for an answer that makes no sense."""
        return PeerAnswersGarbage(address=self.address, port=self.port, reason=reason)

    def _unreachable(self, reason: str) -> PeerUnreachable:
        return PeerUnreachable(address=self.address, port=self.port, reason=reason)

    def _failure(self, error: httpx.TransportError, *, begun: bool) -> PeerFailed:
        match error:
            case httpx.RemoteProtocolError():
                # httpcore raised its error while handling its parser's, but only when what came is not HTTP.
                if begun or getattr(error.__cause__, "__context__", None) is not None:
                    return self.garbage(f"no whole HTTP answer: {error}")
                return self._unreachable("it closed the connection before it answered")
            case httpx.ConnectTimeout():
                return self._unreachable(f"nobody answered within {self.timeout:g} s")
            case _:
                return self._unreachable(f"the connection failed: {str(error) or type(error).__name__}")


def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > ANSWER_LIMIT:
            raise _TooLargeError
    return bytes(body)


def _options(interface: str | None) -> list[SocketOption]:
    """Return what binds a socket to the interface, and has it end when the other side's kernel is silent (tcp(7))."""
    options: list[SocketOption] = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASK_AFTER),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASK_EVERY),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, KERNEL_SILENCE * 1000),
    ]
    if interface is not None:
        options.append((socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0"))
    return options
