"""What operations are given, and who may call them: each router is ``administered``, or stands in ``OPEN``."""

from typing import Annotated, Final

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
    "/api/v1/setup": "makes the first user, against the one-time secret",
    "/api/v1/login": "gives the token",
    "/api/v1/health": "says that the controller answers, and nothing else",
    "/api/v1/openapi.json": "describes this API, which is public",
    "/metrics": "asks for the metrics token, or a user's, by itself",
}


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _setting_up(request: Request) -> SettingUp:
    setting_up: SettingUp = request.app.state.setting_up
    return setting_up


def _users(request: Request) -> Users:
    users: Users = request.app.state.users
    return users


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _audit(request: Request) -> Audit:
    audit: Audit = request.app.state.audit
    return audit


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


#: The services of this controller.
TheServices = Annotated[Services, Depends(_services)]
TheSettingUp = Annotated[SettingUp, Depends(_setting_up)]
#: The users of this subsystem, their logins and tokens, and what they did.
TheUsers = Annotated[Users, Depends(_users)]
TheSessions = Annotated[Sessions, Depends(_sessions)]
TheAudit = Annotated[Audit, Depends(_audit)]
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
