"""Who looks: the login that a browser holds in a cookie which no script can read.

A page cannot set such a cookie over its socket. So whoever has logged in there is sent on with a ticket, and gets the
cookie from the answer.
"""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from qreplica.access import tickets

COOKIE: Final = "qreplica-login"
LOGIN: Final = "/login"

router = APIRouter()


def token_of(request: Request) -> str | None:
    """Return the token that the browser holds."""
    return request.cookies.get(COOKIE)


def address_of(request: Request) -> str:
    """Return where the browser is."""
    return request.client.host if request.client else ""


@router.get(tickets.PATH + "{made}")
def come_in(request: Request, made: str) -> Response:
    """Give the cookie for a ticket, once; without a valid one it is the login page again."""
    token = tickets.take(made)
    if token is None:
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
