"""How a browser gets the cookie of a login, and that nobody else does."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from qreplica.access import tickets
from qreplica.ui import login


class Browser:
    """Asks the site, and follows nothing."""

    def __init__(self) -> None:
        self._site = FastAPI()
        self._site.include_router(login.router)

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._get(path))

    async def _get(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(self._site)
        async with httpx.AsyncClient(transport=transport, base_url="https://controller") as client:
            return await client.get(path)


@pytest.fixture
def browser() -> Browser:
    return Browser()


def test_a_ticket_is_good_once(browser: Browser) -> None:
    path = tickets.give("the token")
    first = browser.get(path)
    assert first.headers["location"] == "/"
    cookie = first.headers["set-cookie"]
    assert cookie.startswith(f'{login.COOKIE}="the token"')
    for attribute in ("HttpOnly", "SameSite=strict", "Secure"):
        assert attribute in cookie
    again = browser.get(path)
    assert again.headers["location"] == "/login"
    assert "set-cookie" not in again.headers


def test_a_ticket_is_good_for_seconds(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tickets.give("the token"), tickets.give("another")
    later = tickets.time.monotonic() + 30
    monkeypatch.setattr(tickets.time, "monotonic", lambda: later)
    assert browser.get(path).headers["location"] == "/login"
    tickets.give("a third")
    assert other.rpartition("/")[2] not in tickets._waiting


@pytest.mark.parametrize("made", ["", "x", "%00", "a" * 5000])
def test_nothing_else_is_a_ticket(browser: Browser, made: str) -> None:
    answer = browser.get(f"/login/tickets/{made}")
    assert "set-cookie" not in answer.headers


def test_to_go_out_takes_the_cookie_away(browser: Browser) -> None:
    answer = browser.get("/logged-out")
    assert answer.headers["location"] == "/login"
    assert "Max-Age=0" in answer.headers["set-cookie"]
