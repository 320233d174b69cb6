"""The gate before the target's peer routes: bounds every request, finds out who asks, and signs the answer."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qreplica.errors import QReplicaError
from qreplica.peer import life, signing
from qreplica.peer.errors import MessageTooLarge, MessageTooSlow
from qreplica.units import KIB

#: The largest message is a few hundred bytes; this leaves room (bytes).
REQUEST_LIMIT = 64 * KIB

#: A request must be complete after this many seconds.
REQUEST_SECONDS = 15.0

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request: the keys of the node's secret, and the signature."""

    keys: signing.Keys
    signature: signing.Signature


#: Is given the request and its ``Authorization`` header. Returns who asks, None for a request that may come unsigned;
#: raises Unauthorized or NotFound.
Authenticate = Callable[[signing.Request, str | None], Caller | None]


class Gate:
    """ASGI middleware. Whatever is behind it is reached only by requests that ``authenticate`` let through.

    A question for a sign of life needs no leave: it tells nothing, and must not wait for a thread.
    """

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event stream (ASGI 3)."""
        if scope["type"] != "http" or scope["path"] == life.PATH:
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole_body(receive)
            caller = await run_in_threadpool(self._authenticate, _request(scope, body), _authorization(scope))
        except QReplicaError as error:
            await _refuse(error, send)
            return
        scope.setdefault("state", {})["signed"] = caller is not None
        answer = _Answer(caller, send)
        await self._app(scope, _once(body, receive), answer.take)


class _Answer:
    """Holds the answer back until it is whole, since the signature in its head covers its body."""

    def __init__(self, caller: Caller | None, send: Send) -> None:
        self._caller = caller
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        headers = list(self._start.get("headers", []))
        if self._caller is not None:
            proof = signing.sign_answer(self._caller.keys, self._caller.signature, self._start["status"], self._body)
            headers.append((signing.ANSWER_HEADER.lower().encode(), proof.encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": self._body})


async def _whole_body(receive: Receive) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > REQUEST_LIMIT:
                    raise MessageTooLarge(limit=REQUEST_LIMIT)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise MessageTooSlow(seconds=REQUEST_SECONDS) from error


def _request(scope: Scope, body: bytes) -> signing.Request:
    path = scope["raw_path"]
    if scope["query_string"]:
        path += b"?" + scope["query_string"]
    return signing.Request(scope["method"], path.decode("latin-1"), body)


def _authorization(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(value.decode("latin-1"))
    return None


def _once(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read already, then whatever comes after it (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(error: QReplicaError, send: Send) -> None:
    problem = error.problem()
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": problem["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
