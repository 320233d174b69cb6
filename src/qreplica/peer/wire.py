"""One bounded HTTP exchange with a target portal: bounded in time, in size, and to one network interface."""

import socket
import ssl
from dataclasses import dataclass
from typing import TypeAlias

import httpcore  # noqa: F401 - httpx loads it only when a client is made, which a cycle would wait for
import httpx

from qreplica.peer.deadline import Deadline
from qreplica.peer.errors import PeerAnswersGarbage, PeerFailed, PeerUnreachable
from qreplica.peer.liveness import Liveness
from qreplica.units import MIB, format_size

#: No answer of the conversation comes near this (bytes).
ANSWER_LIMIT = MIB
#: Seconds without a sign of life from the other side's kernel after which a connection is given up.
SILENCE = 10
_ASK_AFTER, _ASK_EVERY = 4, 3
#: Where a target says whom it is to anybody, within milliseconds.
_CHEAP = "/peer/v1/nodes"
#: The part of the silence after which somebody who answers late is asked whether he lives.
_PATIENT = 0.2

_SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray]


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

    Proxies and other settings of the environment are not looked at, redirects not followed. Whoever answers nobody for
    ``silence`` seconds hangs.
    """

    def __init__(
        self, address: str, port: int, interface: str | None, timeout: float, *, silence: float = SILENCE
    ) -> None:
        self.address = address
        self.port = port
        self.timeout = timeout
        self._interface = interface
        self._silence = silence
        self._http = self._client()

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://{self.address}:{self.port}",
            transport=httpx.HTTPTransport(
                # Without this one it would load every certificate authority of the system, for plain HTTP.
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),
                socket_options=_options(self._interface),
            ),
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
        with Deadline(seconds) as deadline, self._liveness(deadline):
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
                if deadline.reason is not None:
                    raise self._unreachable(deadline.reason) from error
                raise self._failure(error, begun=begun) from error

    def _liveness(self, deadline: Deadline) -> Liveness:
        hangs = f"its daemon hangs: it has answered nobody for {self._silence:g} s"
        return Liveness(self._answers, lambda: deadline.end(hangs), self._silence * _PATIENT)

    def _answers(self) -> bool:
        """Whether the other side answers anything on a connection of its own."""
        try:
            with self._client() as http, http.stream("GET", _CHEAP, timeout=self._silence * (1 - _PATIENT)):
                return True
        except httpx.RemoteProtocolError:
            return True
        except httpx.TransportError:
            return False

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


def _options(interface: str | None) -> list[_SocketOption]:
    """Return what binds a socket to the interface, and has it end when the other side is silent (tcp(7)).

    A target may work long on an answer; its kernel acknowledges meanwhile, unless the path is dead.
    """
    options: list[_SocketOption] = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASK_AFTER),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASK_EVERY),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000),
    ]
    if interface is not None:
        options.append((socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0"))
    return options
