"""Refuses bodies that no operation takes, before anything is read of them or anybody is known."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from qreplica.api.errors import RequestInvalid, RequestTooLarge
from qreplica.api.problems import answer
from qreplica.errors import QReplicaError

#: The largest body of an operation is far below this, in bytes.
LIMIT = 64 * 1024


class BodyLimit:
    """ASGI middleware. The server below never passes on more than Content-Length says, so its word is enough."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with a problem."""
        refusal = _refusal(Request(scope)) if scope["type"] == "http" else None
        handler: Callable[[Scope, Receive, Send], Awaitable[None]] = self._app if refusal is None else answer(refusal)
        await handler(scope, receive, send)


def _refusal(request: Request) -> QReplicaError | None:
    if "transfer-encoding" in request.headers:
        return RequestInvalid(place="header.Transfer-Encoding", reason="a body needs a Content-Length")
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return RequestInvalid(place="header.Content-Length", reason="it is not a number")
    return RequestTooLarge(limit=LIMIT) if int(length) > LIMIT else None
