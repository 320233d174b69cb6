"""Tickets: addresses at which a browser gets a login, once and for a short time.

A page cannot set a cookie that no script can read, nor can a command; the answer to such an address does. They are of
one controller, and end with its daemon.
"""

import secrets
import time
from typing import Final

#: Where a browser comes with one.
PATH: Final = "/login/tickets/"
#: For how long (seconds) one is good that a browser is sent on with at once, and one that people are told.
AT_ONCE, TOLD = 20.0, 600.0

_waiting: dict[str, tuple[str, float]] = {}


def give(token: str, seconds: float = AT_ONCE) -> str:
    """Return the path at which a browser gets ``token``, within so many seconds."""
    now = time.monotonic()
    for old in [one for one, (_, until) in list(_waiting.items()) if until < now]:
        _waiting.pop(old, None)
    made = secrets.token_urlsafe(32)
    _waiting[made] = (token, now + seconds)
    return PATH + made


def take(made: str) -> str | None:
    """Return the token for a ticket, the last part of its path; None if it is none, used, or too old."""
    token, until = _waiting.pop(made, ("", 0.0))
    return token if time.monotonic() <= until else None
