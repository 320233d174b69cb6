"""``qreplica configuration``: the QReplica configuration of the white paper, and the time zone."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, Session, session

app = typer.Typer(no_args_is_help=True, help="The QReplica configuration, and the subsystem's time zone.")

_PATH, _ZONE = "/qreplica/configuration", "/time-zone"


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show snapshot space, threshold and restart, how many jobs run at once, and the time zone."""
    with session(context, as_json=as_json) as here:
        here.show(_all(here), _sheet)


@app.command("set")
def set_(
    context: typer.Context,
    ratio: Annotated[
        float | None, typer.Option(help="Snapshot space of a source VD without any, in its sizes.")
    ] = None,
    threshold: Annotated[int | None, typer.Option(help="Percent of what is left of it from which a job runs.")] = None,
    restart_after_failure: Annotated[
        bool | None,
        typer.Option(
            "--restart-after-failure/--no-restart-after-failure",
            help="When the space runs out: clear the job's snapshots, and begin a full copy an hour later.",
        ),
    ] = None,
    check_minutes: Annotated[int | None, typer.Option(help="Minutes between checks of the threshold.")] = None,
    progress_minutes: Annotated[
        int | None, typer.Option(help="Minutes without progress after which a job at work is told of.")
    ] = None,
    running_jobs: Annotated[int | None, typer.Option(help="Jobs that may run at once; the others are queued.")] = None,
    protect_superseded: Annotated[
        bool | None,
        typer.Option(
            "--protect-superseded/--no-protect-superseded",
            help="Have hosts only read a source VD once its job learns that its copy was promoted.",
        ),
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of schedules, such as Europe/Berlin.")] = None,
    as_json: Json = False,
) -> None:
    """Change what is given. Threshold and restart take effect for jobs with a schedule only."""
    with session(context, as_json=as_json) as here:
        given = {
            "ratio": ratio,
            "threshold": threshold,
            "restart_after_failure": restart_after_failure,
            "check_minutes": check_minutes,
            "progress_minutes": progress_minutes,
            "running_jobs": running_jobs,
            "protect_superseded": protect_superseded,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        if changed:
            here.api.call("PUT", _PATH, body=here.api.get(_PATH) | changed)
        if time_zone is not None:
            here.api.call("PUT", _ZONE, body={"time_zone": time_zone})
        here.show(_all(here), _sheet)


def _all(here: Session) -> dict[str, Any]:
    answer: dict[str, Any] = here.api.get(_PATH) | here.api.get(_ZONE)
    return answer


def _sheet(answer: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Snapshot space", f"{answer['ratio']:g} to 1"),
            ("Threshold", f"{answer['threshold']} %, checked every {answer['check_minutes']} min"),
            ("Restart the task an hour later if failed", "yes" if answer["restart_after_failure"] else "no"),
            ("No progress", f"told of after {answer['progress_minutes']} min"),
            ("Jobs that run at once", f"{answer['running_jobs']} at most"),
            ("A source whose copy was promoted", "read only" if answer["protect_superseded"] else "read and write"),
            ("Time zone", answer["time_zone"]),
        ]
    )
