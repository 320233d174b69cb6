"""Users, and their logins and tokens, as an admin sees them."""

from typing import Annotated

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheSessions, TheUsers, administered
from qreplica.api.account import SessionAnswer
from qreplica.api.fields import Answer, SecretIn, Strict, Time, example
from qreplica.api.problems import problems

router = administered("/users", "access", reads=Role.ADMIN)
sessions_router = administered("/sessions", "access", reads=Role.ADMIN)

_PASSWORD = "At least 12 characters; write-only"  # noqa: S105 - says what one is like


class UserAnswer(Answer):
    """A user."""

    model_config = example(
        {"name": "night-shift", "role": "operator", "enabled": True, "created_at": "2026-11-24T09:00:00.000Z"}
    )
    name: str
    role: Annotated[
        Role,
        Field(description="`viewer` reads, `operator` also runs jobs and takes snapshots, `admin` does everything"),
    ]
    enabled: Annotated[bool, Field(description="Whether the user may log in, and its tokens are let in")]
    created_at: Time


class UserRequest(Strict):
    """A user to make."""

    model_config = example({"name": "night-shift", "role": "operator", "password": "correct horse battery"})
    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Role
    password: Annotated[SecretIn, Field(description=_PASSWORD)]


class UserChangeRequest(Strict):
    """What to change of a user; what is left out stays."""

    model_config = example({"role": "viewer", "enabled": True})
    role: Role | None = None
    enabled: bool | None = None


class PasswordRequest(Strict):
    """A user's next password."""

    model_config = example({"password": "correct horse battery"})
    password: Annotated[SecretIn, Field(description=_PASSWORD)]


@router.get("", summary="List the users", responses=problems())
def list_users(users: TheUsers) -> list[UserAnswer]:
    """List all users by name."""
    return [UserAnswer.model_validate(one) for one in users.listing()]


@router.post("", summary="Make a user", status_code=201, responses=problems(409))
def create_user(request: UserRequest, users: TheUsers) -> UserAnswer:
    """Make a user with a role and a password, which the user then changes."""
    users.create(request.name, request.role, request.password.get_secret_value())
    return show_user(request.name, users)


@router.get("/{name}", summary="Show a user", responses=problems(404))
def show_user(name: str, users: TheUsers) -> UserAnswer:
    """Show one user: its role, and whether it may log in."""
    return UserAnswer.model_validate(users.show(name))


@router.patch("/{name}", summary="Set a user's role, or disable it", responses=problems(404, 409))
def change_user(name: str, request: UserChangeRequest, users: TheUsers) -> UserAnswer:
    """Set the role, or whether the user may log in; both count from the user's next request on.

    Disabling ends logins; API tokens are refused until the user is enabled again. One enabled admin is always left.
    """
    users.change(name, role=request.role, enabled=request.enabled)
    return show_user(name, users)


@router.put("/{name}/password", summary="Set a user's password", status_code=204, responses=problems(404))
def set_password(name: str, request: PasswordRequest, users: TheUsers) -> None:
    """Set a user's password. All logins of the user end; API tokens stay, and can be revoked."""
    users.set_password(name, request.password.get_secret_value())


@router.delete("/{name}", summary="Delete a user", status_code=204, responses=problems(404, 409))
def delete_user(name: str, users: TheUsers) -> None:
    """Delete a user with all logins and API tokens, though not the last enabled admin. The audit log stays."""
    users.delete(name)


@router.delete(
    "/{name}/sessions", summary="Revoke a user's logins and tokens", status_code=204, responses=problems(404)
)
def revoke_sessions_of_user(name: str, sessions: TheSessions) -> None:
    """End all logins and API tokens of a user."""
    sessions.revoke_all(name)


@sessions_router.get("", summary="List all logins and tokens", responses=problems())
def list_sessions(sessions: TheSessions) -> list[SessionAnswer]:
    """List the logins and API tokens of all users, the latest first."""
    return SessionAnswer.of(sessions.listing())


@sessions_router.delete("/{session}", summary="Revoke a login or token", status_code=204, responses=problems(404))
def revoke_session(session: str, sessions: TheSessions) -> None:
    """End a login or an API token of anybody; it is refused from the next request on."""
    sessions.revoke(session)
