"""``qreplica token``: tokens by which programs use the API."""

from typing import Annotated

import typer

from qreplica.cli import output
from qreplica.cli.context import Json, path, session
from qreplica.cli.errors import NoSuchToken
from qreplica.cli.session import table
from qreplica.cli.user import RoleName

app = typer.Typer(no_args_is_help=True, help="Your tokens for programs that use the API.")

Name = Annotated[str, typer.Argument(help="The token's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List your tokens and when they were used last."""
    with session(context, as_json=as_json) as here:
        tokens = [one for one in here.api.get("/account/sessions") if one["name"] is not None]
        here.show(tokens, table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[RoleName, typer.Option(help="What it may do at most; not above your own.")] = RoleName.VIEWER,
    days: Annotated[int, typer.Option(min=1, max=366, help="When it ends.")] = 90,
    as_json: Json = False,
) -> None:
    """Make a token; it is printed this once, alone on standard output. Needs a login, not another token."""
    with session(context, as_json=as_json) as here:
        made = here.api.post("/account/tokens", {"name": name, "role": role.value, "days": days})
        here.warn(f"The token “{name}” ends {output.time(made['expires_at'])} and is not shown again.")
        here.show(made, lambda one: str(one["token"]))


@app.command()
def revoke(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """End one of your tokens; it is refused from the next request on."""
    with session(context, as_json=as_json) as here:
        for one in here.api.get("/account/sessions"):
            if one["name"] == name:
                here.api.delete(path("account", "sessions", one["id"]))
                here.say(f"Token “{name}” has ended.")
                return
        raise NoSuchToken(name=name)
