"""``qreplica job path``: the paths of a replication job."""

from typing import Annotated

import typer

from qreplica.cli import job_views
from qreplica.cli.context import Json, path, session

app = typer.Typer(no_args_is_help=True, help="The paths of a job: its data goes over one, the others stand by.")

Name = Annotated[str, typer.Argument(help="The job's name.")]
Address = Annotated[str, typer.Argument(help="An iSCSI port's address of the target, best of its other controller.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The TCP port of the target's iSCSI portal.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    address: Address,
    port: Port = 3260,
    peer_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The TCP port of the target's peer conversation.")
    ] = 3261,
    node: Annotated[str | None, typer.Option(help="The iSCSI node chosen there; it must be the job's.")] = None,
    lun: Annotated[
        int | None, typer.Option(min=1, max=255, help="The LUN chosen there; it must be the job's backup VD.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a path to the job's backup VD. A running cycle is not disturbed."""
    with session(context, as_json=as_json) as here:
        body = {"address": address, "port": port, "peer_port": peer_port, "node": node, "lun": lun}
        job = here.api.post(path("jobs", name, "paths"), body)
        here.say(
            f"Job “{name}” has {len(job['paths'])} paths to {job['target_subsystem']}:{job['target_vd']} now.", job
        )


@app.command()
def remove(context: typer.Context, name: Name, address: Address, port: Port = 3260, as_json: Json = False) -> None:
    """Remove a path, though not the last one. Data that goes over it goes over another one."""
    with session(context, as_json=as_json) as here:
        here.api.delete(path("jobs", name, "paths", address, port))
        here.say(f"Path {address}:{port} of job “{name}” was removed.")


@app.command("list")
def list_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the job's paths, the preferred one first, each with its state and why it failed."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name))["paths"], job_views.paths)
