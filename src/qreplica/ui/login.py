"""Who looks: the login that a browser holds in a cookie which no script can read.

A page cannot set such a cookie over its socket. So whoever has logged in there is sent to an address that is valid
once and for seconds, and gets the cookie from its answer.
"""

import secrets
import time
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

COOKIE: Final = "qreplica-login"
LOGIN: Final = "/login"
_TICKETS: Final = "/login/tickets/"
#: Seconds in which a browser must come for its cookie.
_VALID: Final = 20.0

router = APIRouter()
_waiting: dict[str, tuple[str, float]] = {}


def token_of(request: Request) -> str | None:
    """Return the token that the browser holds."""
    return request.cookies.get(COOKIE)


def address_of(request: Request) -> str:
    """Return where the browser is."""
    return request.client.host if request.client else ""


def ticket(token: str) -> str:
    """Return the path at which the browser gets ``token`` as its cookie."""
    now = time.monotonic()
    for old in [one for one, (_, until) in _waiting.items() if until < now]:
        del _waiting[old]
    made = secrets.token_urlsafe(32)
    _waiting[made] = (token, now + _VALID)
    return _TICKETS + made


@router.get(_TICKETS + "{made}")
def come_in(request: Request, made: str) -> Response:
    """Give the cookie for a ticket, once; without a valid one it is the login page again."""
    token, until = _waiting.pop(made, ("", 0.0))
    if until < time.monotonic():
        return RedirectResponse(LOGIN, 303)
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


@router.get("/logged-out")
def go_out() -> Response:
    """Take the cookie away."""
    response = RedirectResponse(LOGIN, 303)
    response.delete_cookie(COOKIE)
    return response
