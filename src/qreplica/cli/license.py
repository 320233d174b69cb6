"""``qreplica license``: the license key of the subsystem."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, session
from qreplica.license import reading

app = typer.Typer(no_args_is_help=True, help="The license key of the subsystem.")


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the license, the serial number that it is bound to, and where it is in force."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/license"), sheet)


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The license file, as the vendor sent it.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Activate a license file; it takes effect when the subsystem was restarted."""
    with session(context, as_json=as_json) as here:
        answer = here.api.call("POST", "/license", content=reading.content_of(file))
        here.say(answer["message"], answer)


def sheet(answer: dict[str, Any]) -> RenderableType:
    """Return all of the license."""
    facts = [("Serial number", answer["serial"]), ("License", answer["message"])]
    found = answer["license"]
    if found is not None:
        facts += [
            ("Id", found["id"]),
            ("Feature", found["feature"]),
            ("Licensee", found["licensee"]),
            ("Issued", output.time(found["issued_at"])),
            ("Valid from", output.time(found["not_before"])),
            ("Expires", "never" if found["expires_at"] is None else output.time(found["expires_at"])),
            ("Signed by key", found["key"]),
            ("Uploaded", output.time(answer["uploaded_at"])),
        ]
    facts += [(f"Controller {one['number']}", _on_controller(one)) for one in answer["controllers"]]
    return output.sheet(facts)


def _on_controller(one: dict[str, Any]) -> str:
    state = "in force" if one["in_force"] else "not in force"
    return f"{state}, restart needed" if one["restart_needed"] else state
