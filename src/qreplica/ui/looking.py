"""Somebody who looks at a page: what they may ask, and how they are told what went wrong."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import login
from qreplica.ui.rest import LoggedOut, Refused, Rest

#: Seconds between two looks at what a page shows.
EVERY = 2.0


@dataclass(frozen=True, slots=True)
class Looking:
    """One open page. What it asks is asked with the login that it was opened with, and refused when that has ended."""

    rest: Rest
    user: str
    role: Role
    subsystem: str
    license: dict[str, Any]
    zone: ZoneInfo

    @classmethod
    async def begin(cls, application: FastAPI, request: Request) -> Self | None:
        """Return who looks, or None for a browser without a valid login."""
        token = login.token_of(request)
        if token is None:
            return None
        rest = Rest(application, token, login.address_of(request))
        try:
            account = await rest.get("account")
            return cls(
                rest,
                account["user"],
                Role(account["role"]),
                (await rest.get("subsystem"))["name"],
                await rest.get("license"),
                ZoneInfo((await rest.get("time-zone"))["time_zone"]),
            )
        except LoggedOut:
            return None

    @property
    def has_qreplica(self) -> bool:
        """Whether a license is in force anywhere, so that the QReplica pages are there."""
        return any(one["in_force"] for one in self.license["controllers"])

    def may(self, role: Role) -> bool:
        """Tell whether what needs ``role`` should be offered; whether it is done the API decides."""
        return self.role.may(role)

    async def attempt(
        self, what: Awaitable[Any], done: str | None = None, refuse: Callable[[Refused], None] | None = None
    ) -> bool:
        """Do something; tell when it is ``done``, or, unless ``refuse`` does, why not. Return whether it was done."""
        try:
            await what
        except LoggedOut:
            ui.navigate.to(login.LOGIN)
            return False
        except Refused as refused:
            if refuse is None:
                tell(refused.sentence, wrong=True)
            else:
                refuse(refused)
            return False
        if done is not None:
            tell(done)
        return True

    def keep_up(self, look: Callable[[], Awaitable[None]], every: float = EVERY) -> None:
        """Look again and again while the page is open, ``every`` so many seconds; why it fails is told once."""
        told = ""

        def refuse(refused: Refused) -> None:
            nonlocal told
            if refused.sentence != told:
                told = refused.sentence
                tell(told, wrong=True)

        async def again() -> None:
            nonlocal told
            if await self.attempt(look(), refuse=refuse):
                told = ""

        ui.timer(every, again, immediate=False)


def tell(sentence: str, *, wrong: bool = False) -> None:
    """Say something; what went wrong stays until it is put away."""
    ui.notify(
        sentence,
        type="negative" if wrong else "positive",
        multi_line=True,
        timeout=0 if wrong else 5000,
        close_button="Close" if wrong else False,
        position="top",
    )
