"""Logging in and out."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from qreplica.api.access import PREFIX, TheAdministrators, administered, token_of
from qreplica.api.fields import Answer, SecretIn, Strict, Time, example
from qreplica.api.problems import problems

open_router = APIRouter(prefix=PREFIX, tags=["access"])
router = administered("", "access")


class LoginRequest(Strict):
    """An administrator's name and password."""

    model_config = example({"name": "admin", "password": "correct horse battery"})
    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: SecretIn


class LoginAnswer(Answer):
    """The token, told this once."""

    model_config = example(
        {
            "administrator": "admin",
            "token": "dZ0mN0Jq2u8mIYV0cHh6fKx5n3cU4b7zQk1w9sXyE2A",
            "expires_at": "2026-11-25T11:00:00.000Z",
        }
    )
    administrator: str
    token: Annotated[str, Field(description="Send it as `Authorization: Bearer TOKEN`")]
    expires_at: Time


@open_router.post("/login", summary="Log in", responses=problems(401, 429))
def log_in(request: LoginRequest, administrators: TheAdministrators) -> LoginAnswer:
    """Give a token that is valid for 12 hours. After four failures a name has to wait, twice as long each time."""
    return LoginAnswer.model_validate(administrators.log_in(request.name, request.password.get_secret_value()))


@router.post("/logout", summary="Log out", status_code=204)
def log_out(administrators: TheAdministrators, token: Annotated[str, Depends(token_of)]) -> None:
    """End the login whose token the request carries."""
    administrators.log_out(token)
