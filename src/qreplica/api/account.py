"""The caller's own account: who one is, one's password, logins and tokens. Every role may."""

from typing import Annotated

from pydantic import Field

from qreplica.access import tickets
from qreplica.access.roles import Role
from qreplica.access.sessions import LONGEST_DAYS, USUAL_DAYS
from qreplica.api.access import Address, TheCaller, TheSessions, administered
from qreplica.api.auth import LoginAnswer
from qreplica.api.fields import Answer, SecretIn, Strict, Time, example
from qreplica.api.problems import problems
from qreplica.state.access_models import AccessSession

router = administered("/account", "access", changes=Role.VIEWER)

_SESSION = {
    "id": "0b7e6c1d5a7c4d0c9a4b3f3f6d1f2a77",
    "user": "admin",
    "name": "monitoring",
    "role": "viewer",
    "address": "192.0.2.7",
    "created_at": "2026-11-24T09:00:00.000Z",
    "expires_at": "2027-02-22T09:00:00.000Z",
    "used_at": "2026-11-24T09:30:00.000Z",
    "used_from": "192.0.2.7",
}


class AccountAnswer(Answer):
    """Who calls."""

    model_config = example({"user": "admin", "role": "admin", "session": _SESSION["id"], "token": None})
    user: str
    role: Annotated[Role, Field(description="What the caller may do")]
    session: Annotated[str, Field(description="The id of the login or token that asks, among one's sessions")]
    token: Annotated[str | None, Field(description="The name of the API token; null for a login")]


class SessionAnswer(Answer):
    """A login or an API token that is valid."""

    model_config = example(_SESSION)
    id: Annotated[str, Field(description="By which it can be revoked; not a secret")]
    user: str
    name: Annotated[str | None, Field(description="The name of an API token; null for a login")]
    role: Annotated[Role | None, Field(description="What a token may do at most; null for a login")]
    address: Annotated[str | None, Field(description="Where it was made from")]
    created_at: Time
    expires_at: Time
    used_at: Annotated[Time | None, Field(description="When it was used last, exact to a minute")]
    used_from: Annotated[str | None, Field(description="From where it was used last")]

    @classmethod
    def of(cls, sessions: list[AccessSession]) -> "list[SessionAnswer]":
        """Return the answer to a request for several."""
        return [cls.model_validate(one) for one in sessions]


class OwnPasswordRequest(Strict):
    """The present password, and the next one."""

    model_config = example({"password": "correct horse battery", "new_password": "another horse battery"})
    password: SecretIn
    new_password: Annotated[SecretIn, Field(description="At least 12 characters; write-only")]


class BrowserLoginAnswer(Answer):
    """Where a browser gets a login, once."""

    model_config = example({"path": "/login/tickets/8V2hJm0cS5o4qY7rN1kX", "seconds": 600})
    path: Annotated[str, Field(description="On the controller that answers, and on no other")]
    seconds: Annotated[int, Field(description="For how long it is good")]


class TokenRequest(Strict):
    """An API token to make."""

    model_config = example({"name": "monitoring", "role": "viewer", "days": 90})
    name: Annotated[str, Field(min_length=1, max_length=64, description="Unique among one's own tokens")]
    role: Annotated[Role, Field(description="What it may do at most; not above one's own role")] = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS, description="When it ends")] = USUAL_DAYS


@router.get("", summary="Show who one is", responses=problems())
def show_account(caller: TheCaller) -> AccountAnswer:
    """Tell whose token the request carries, and what it may do."""
    return AccountAnswer.model_validate(caller)


@router.put("/password", summary="Change one's password", status_code=204, responses=problems(429))
def change_own_password(request: OwnPasswordRequest, sessions: TheSessions, caller: TheCaller) -> None:
    """Change the caller's own password. Other logins of the caller end, API tokens stay. Needs a login."""
    sessions.change_password(caller, request.password.get_secret_value(), request.new_password.get_secret_value())


@router.post("/browser-login", summary="Log a browser in", status_code=201, responses=problems())
def log_browser_in(sessions: TheSessions, caller: TheCaller, address: Address) -> BrowserLoginAnswer:
    """Give an address at which a browser is logged in as the caller, once. Needs a login; a token makes none."""
    made = tickets.give(sessions.another(caller, address).token, tickets.TOLD)
    return BrowserLoginAnswer(path=made, seconds=int(tickets.TOLD))


@router.post("/tokens", summary="Make an API token", status_code=201, responses=problems(409))
def make_token(request: TokenRequest, sessions: TheSessions, caller: TheCaller, address: Address) -> LoginAnswer:
    """Make an API token for a program; it is told this once. Needs a login: a token makes no other one."""
    return LoginAnswer.model_validate(sessions.make_token(caller, request.name, request.role, request.days, address))


@router.get("/sessions", summary="List one's logins and tokens", responses=problems())
def list_own_sessions(sessions: TheSessions, caller: TheCaller) -> list[SessionAnswer]:
    """List the caller's own logins and API tokens, the latest first."""
    return SessionAnswer.of(sessions.listing(caller.user))


@router.delete("/sessions", summary="Revoke one's other logins and tokens", status_code=204, responses=problems())
def revoke_own_sessions(sessions: TheSessions, caller: TheCaller) -> None:
    """End all logins and API tokens of the caller but the one that asks."""
    sessions.revoke_all(caller.user, but=caller.session)


@router.delete("/sessions/{session}", summary="Revoke one's login or token", status_code=204, responses=problems(404))
def revoke_own_session(session: str, sessions: TheSessions, caller: TheCaller) -> None:
    """End a login or an API token of the caller's own; it is refused from the next request on."""
    sessions.revoke(session, caller.user)
