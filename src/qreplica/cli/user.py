"""``qreplica user``: who may use the subsystem, and what for."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="The users of the subsystem.")

Name = Annotated[str, typer.Argument(help="The user's name.")]


class RoleName(StrEnum):
    """What a user may do; the subsystem decides, this is for the help."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


Role = Annotated[RoleName, typer.Argument(help="viewer reads, operator also runs jobs and snapshots, admin all.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the users and their roles."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/users"), _table)


@app.command()
def create(
    context: typer.Context, name: Name, role: Role, password_file: asking.PasswordFile = None, as_json: Json = False
) -> None:
    """Make a user, whose first password you give."""
    with session(context, as_json=as_json) as here:
        body = {"name": name, "role": role.value, "password": _new_password(name, password_file)}
        here.say(f"User “{name}” was made, with the role {role.value}.", here.api.post("/users", body))


@app.command()
def role(context: typer.Context, name: Name, role: Role, as_json: Json = False) -> None:
    """Set a user's role; it counts from the user's next request on."""
    with session(context, as_json=as_json) as here:
        changed = here.api.call("PATCH", path("users", name), body={"role": role.value})
        here.say(f"User “{name}” has the role {role.value} now.", changed)


@app.command()
def password(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The user's name; your own password if left out.")] = None,
    password_file: asking.PasswordFile = None,
    new_password_file: asking.NewPasswordFile = None,
    as_json: Json = False,
) -> None:
    """Set a password. Your own needs the present one too; other logins of the user end, tokens stay."""
    with session(context, as_json=as_json) as here:
        if name is None:
            present = asking.secret(
                "present password", password_file, option="--password-file", variable=asking.PASSWORD_VARIABLE
            )
            new = asking.secret(
                "new password",
                new_password_file,
                option="--new-password-file",
                variable=asking.NEW_PASSWORD_VARIABLE,
                twice=True,
            )
            here.api.call("PUT", "/account/password", body={"password": present, "new_password": new})
            here.say("Your password was changed; your other logins have ended.")
        else:
            here.api.call("PUT", path("users", name, "password"), body={"password": _new_password(name, password_file)})
            here.say(f"The password of “{name}” was changed; the user's logins have ended.")


@app.command()
def disable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Keep a user out from now on: logins end, tokens are refused."""
    _enable(context, name, enabled=False, as_json=as_json)


@app.command()
def enable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let a disabled user in again; tokens that have not ended work again."""
    _enable(context, name, enabled=True, as_json=as_json)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a user, with all logins and tokens. The audit log keeps the name."""
    with session(context, as_json=as_json) as here:
        asking.confirm(name, f"All logins and tokens of user “{name}” will end.", yes=yes)
        here.api.delete(path("users", name))
        here.say(f"User “{name}” was deleted.")


def _enable(context: typer.Context, name: str, *, enabled: bool, as_json: bool) -> None:
    with session(context, as_json=as_json) as here:
        changed = here.api.call("PATCH", path("users", name), body={"enabled": enabled})
        here.say(f"User “{name}” is {'enabled' if enabled else 'disabled'} now.", changed)


def _new_password(name: str, file: str | None) -> str:
    what = f"password for “{name}”"
    return asking.secret(what, file, option="--password-file", variable=asking.PASSWORD_VARIABLE, twice=True)


def _table(users: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("User", "Role", "State", "Made"),
        (
            [
                one["name"],
                one["role"],
                output.state("enabled" if one["enabled"] else "disabled"),
                output.time(one["created_at"]),
            ]
            for one in users
        ),
        empty="There are no users.",
    )
