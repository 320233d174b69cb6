"""``qreplica audit``: who changed what, and who was refused."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, session

app = typer.Typer(no_args_is_help=True, help="The audit log.")


class Form(StrEnum):
    """How the log is written to a file."""

    CSV = "csv"
    JSON_LINES = "jsonl"


User = Annotated[str | None, typer.Option(help="Only of this user.")]
Operation = Annotated[str | None, typer.Option(help="Only this operation, such as create_job.")]
Refused = Annotated[bool | None, typer.Option("--refused/--done", help="Only what was refused or failed, or the rest.")]
Since = Annotated[str | None, typer.Option(help="Not before this time, such as 2026-11-24T09:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Not after this time.")]


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the latest ones.")] = 50,
    user: User = None,
    operation: Operation = None,
    refused: Refused = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """List the latest entries, oldest first."""
    query = _query(user=user, operation=operation, refused=refused, since=since, until=until, limit=limit)
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/audit", query), _table)


@app.command()
def download(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    form: Annotated[Form, typer.Option("--format", help="CSV, or a JSON object a line.")] = Form.CSV,
    user: User = None,
    operation: Operation = None,
    refused: Refused = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Write all entries to a file, newest first."""
    query = _query(user=user, operation=operation, refused=refused, since=since, until=until, format=form.value)
    with session(context, as_json=as_json) as here:
        here.api.download("/audit/download", query, file)
        here.say(f"The audit log was written to {file}.", {"file": str(file)})


def _query(**wanted: object) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if value is not None}


def _table(entries: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Time", "User", "From", "Operation", "Subject", "Outcome"),
        (
            [
                output.time(one["at"]),
                output.text(one["user"]),
                output.text(one["address"]),
                one["operation"],
                one["subject"],
                _outcome(one),
            ]
            for one in reversed(entries)
        ),
        empty="There are no entries.",
    )


def _outcome(entry: dict[str, Any]) -> str:
    if entry["status"] is None:
        return "unknown: cut off"
    return str(entry["problem"] or "done")
