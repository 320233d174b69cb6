"""What operations are given, and who may call them: each router is ``administered``, or stands in ``OPEN``."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from qreplica.access.audit import Audit
from qreplica.access.roles import Role
from qreplica.access.sessions import Caller, Sessions
from qreplica.access.setting_up import SettingUp
from qreplica.access.users import Users
from qreplica.api import operations
from qreplica.daemon.services import Services

PREFIX: Final = "/api/v1"

#: The operations that need no token, and why.
OPEN: Final = {
    "/api/v1/setup": "makes the first user, against the one-time secret, and says whether that is to be done",
    "/api/v1/login": "gives the token",
    "/api/v1/health": "says that the controller answers, and nothing else",
    "/api/v1/openapi.json": "describes this API, which is public",
    "/metrics": "asks for the metrics token, or a user's, by itself",
}


def _part(name: str) -> Any:  # noqa: ANN401 - as FastAPI's own
    """Return the dependency on a part of the application."""

    def part(request: Request) -> Any:  # noqa: ANN401 - whatever was put there
        return getattr(request.app.state, name)

    return Depends(part)


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


#: The services of this controller.
TheServices = Annotated[Services, _part("services")]
TheSettingUp = Annotated[SettingUp, _part("setting_up")]
#: The users of this subsystem, their logins and tokens, and what they did.
TheUsers = Annotated[Users, _part("users")]
TheSessions = Annotated[Sessions, _part("sessions")]
TheAudit = Annotated[Audit, _part("audit")]
#: Who calls, let in by role before.
TheCaller = Annotated[Caller, Depends(_caller)]
#: Where the caller is.
Address = Annotated[str | None, Depends(operations.address_of)]


def administered(path: str, tag: str, *, reads: Role = Role.VIEWER, changes: Role = Role.ADMIN) -> APIRouter:
    """Return a router whose operations need a token of the role ``reads``, or ``changes`` where they change something.

    Where nothing is said only an admin changes anything. ``operations.needs`` says otherwise for one operation.
    """
    return operations.guarded(PREFIX + path, tag, reads=reads, changes=changes)


def opened(tag: str) -> APIRouter:
    """Return a router of operations that need no token, each of which stands in ``OPEN``."""
    return operations.opened(PREFIX, tag)
