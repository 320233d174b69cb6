"""Files that a browser downloads: it asks with its cookie, and REST's answer is handed on as it comes."""

from typing import Final

import nicegui
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from qreplica.ui import login

#: What can be downloaded, and REST's path of it.
_PATHS: Final = {
    "events": "/api/v1/events/download",
    "audit": "/api/v1/audit/download",
}
#: What of a request REST is told; the rest speaks of the pages' own application.
_KEPT: Final = ("type", "asgi", "http_version", "method", "scheme", "query_string", "client", "server", "state")

router = APIRouter()


def path_of(name: str) -> str:
    """Return where the browser finds a file."""
    return f"/downloads/{name}"


@router.get("/downloads/{name}")
def download(request: Request, name: str) -> Response:
    """Answer with what REST answers to the same query."""
    token = login.token_of(request)
    if token is None:
        return RedirectResponse(login.LOGIN, 303)
    if name not in _PATHS:
        return Response(status_code=404)
    return _FromRest(_PATHS[name], token)


class _FromRest(Response):
    """Passes a request to REST: not even a long answer is ever held whole."""

    def __init__(self, path: str, token: str) -> None:
        super().__init__()
        self._path, self._token = path, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        path, token = self._path.encode(), self._token.encode("ascii", errors="replace")
        asked = {key: scope[key] for key in _KEPT if key in scope}
        asked |= {"path": self._path, "raw_path": path, "root_path": ""}
        asked["headers"] = [(b"authorization", b"Bearer " + token)]
        await nicegui.app.state.rest(asked, receive, send)
