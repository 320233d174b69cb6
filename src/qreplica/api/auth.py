"""Logging in and out."""

from typing import Annotated

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import Address, TheCaller, TheSessions, administered, opened
from qreplica.api.fields import Answer, SecretIn, Strict, Time, example
from qreplica.api.problems import problems

open_router = opened("access")
router = administered("", "access", changes=Role.VIEWER)


class LoginRequest(Strict):
    """A user's name and password."""

    model_config = example({"name": "admin", "password": "correct horse battery"})
    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: SecretIn


class LoginAnswer(Answer):
    """The token, told this once."""

    model_config = example(
        {
            "user": "admin",
            "role": "admin",
            "token": "dZ0mN0Jq2u8mIYV0cHh6fKx5n3cU4b7zQk1w9sXyE2A",
            "expires_at": "2026-11-25T11:00:00.000Z",
            "idle_minutes": 30,
        }
    )
    user: str
    role: Role
    token: Annotated[str, Field(description="Send it as `Authorization: Bearer TOKEN`")]
    expires_at: Time
    idle_minutes: Annotated[
        int | None, Field(description="A login that is not used for so long ends earlier; null for a token")
    ]


@open_router.post("/login", summary="Log in", responses=problems(401, 403, 429))
def log_in(request: LoginRequest, sessions: TheSessions, address: Address) -> LoginAnswer:
    """Give a token that is valid for 12 hours, and ends earlier when it is not used for `idle_minutes`.

    After four failures a name has to wait, twice as long each time.
    """
    return LoginAnswer.model_validate(sessions.log_in(request.name, request.password.get_secret_value(), address))


@router.post("/logout", summary="Log out", status_code=204)
def log_out(sessions: TheSessions, caller: TheCaller) -> None:
    """End the login, or the API token, that the request carries."""
    sessions.log_out(caller)
