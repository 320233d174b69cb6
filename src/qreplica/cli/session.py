"""``qreplica session``: logins and tokens, and how to take them back."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session
from qreplica.cli.errors import WhichSessions

app = typer.Typer(no_args_is_help=True, help="Logins and tokens.")


@app.command("list")
def list_(
    context: typer.Context,
    everybody: Annotated[bool, typer.Option("--all", help="Those of all users; needs the role admin.")] = False,
    as_json: Json = False,
) -> None:
    """List your logins and tokens, where they were made and used last, the latest first."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/sessions" if everybody else "/account/sessions"), table)


@app.command()
def revoke(
    context: typer.Context,
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", help="The login's or token's id, as listed.")] = None,
    user: Annotated[str | None, typer.Option(help="All of this user; needs the role admin.")] = None,
    others: Annotated[bool, typer.Option("--others", help="All your own but the one that you use now.")] = False,
    as_json: Json = False,
) -> None:
    """End a login or token, or all of a user; they are refused from the next request on.

    An id that is not your own needs the role admin.
    """
    with session(context, as_json=as_json) as here:
        if [id_ is not None, user is not None, others].count(True) != 1:
            raise WhichSessions
        if id_ is not None:
            own = {one["id"] for one in here.api.get("/account/sessions")}
            here.api.delete(path(*(("account", "sessions") if id_ in own else ("sessions",)), id_))
            here.say(f"{id_} has ended.")
        elif user is not None:
            here.api.delete(path("users", user, "sessions"))
            here.say(f"All logins and tokens of “{user}” have ended.")
        else:
            here.api.delete("/account/sessions")
            here.say("All your other logins and tokens have ended.")


def table(sessions: list[dict[str, Any]]) -> RenderableType:
    """Return logins and tokens as a table."""
    return output.rows(
        output.table("Id", "User", "Token", "At most", "Made", "From", "Used", "From", "Ends"),
        (
            [
                one["id"],
                one["user"],
                output.text(one["name"]),
                output.text(one["role"]),
                output.time(one["created_at"]),
                output.text(one["address"]),
                output.time(one["used_at"]),
                output.text(one["used_from"]),
                output.time(one["expires_at"]),
            ]
            for one in sessions
        ),
        empty="There are none.",
    )
