"""``qreplica job``: replication jobs."""

from typing import Annotated

import typer

from qreplica.cli import (
    asking,
    job_edit,
    job_failover,
    job_path,
    job_rpo,
    job_schedule,
    job_verification,
    job_views,
    wizard,
)
from qreplica.cli.context import Json, Session, Yes, path, session
from qreplica.units import parse_minutes

app = typer.Typer(no_args_is_help=True, help="Replication jobs, on the source subsystem.")
app.add_typer(job_path.app, name="path")
app.add_typer(job_schedule.app, name="schedule")
app.add_typer(job_schedule.bandwidth, name="bandwidth")
app.add_typer(job_rpo.app, name="rpo")

app.command("edit")(job_edit.edit)

Name = Annotated[str, typer.Argument(help="The job's name.")]
PeerPort = Annotated[int, typer.Option(min=1, max=65535, help="The TCP port of the target's peer conversation.")]
ForJob = Annotated[str | None, typer.Option("--for-job", help="The job that a further path is looked for.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show the progress until it ends.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the replication jobs and how far each copy lags behind."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/jobs"), job_views.table)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a job: its state, its cycle, its paths and its last error."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name)), job_views.sheet)


@app.command()
def cycles(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List what a job's cycles sent, the latest first."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name, "cycles")), job_views.cycles)


@app.command()
def discover(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="An iSCSI port's address of the target subsystem.")],
    for_job: ForJob = None,
    peer_port: PeerPort = 3261,
    as_json: Json = False,
) -> None:
    """List the iSCSI nodes of a target subsystem that hold backup VDs, and why some cannot be logged on to."""
    with session(context, as_json=as_json) as here:
        body = {"address": address, "peer_port": peer_port, "job": for_job}
        here.show(here.api.post("/jobs/discover", body), job_views.nodes)


@app.command("source-vds")
def source_vds(context: typer.Context, as_json: Json = False) -> None:
    """List the VDs here, whether a new job may replicate each, and why not."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/qreplica/source-vds"), job_views.source_vds)


@app.command("backup-vds")
def backup_vds(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="An iSCSI port's address of the target subsystem.")],
    node: Annotated[str, typer.Argument(help="The node's IQN, as “discover” lists it.")],
    chap_user: Annotated[str | None, typer.Option(help="The node's CHAP name.")] = None,
    chap_secret_file: asking.ChapFile = None,
    source_vd: Annotated[str | None, typer.Option(help="What is to be replicated; without, no size is judged.")] = None,
    for_job: ForJob = None,
    peer_port: PeerPort = 3261,
    as_json: Json = False,
) -> None:
    """List the VDs that an iSCSI node of a target subsystem offers, and why some cannot be chosen."""
    with session(context, as_json=as_json) as here:
        secret = asking.chap_secret(chap_user, chap_secret_file)
        body = wizard.node_body(wizard.Portal(address, peer_port), node, chap_user, secret)
        body |= {"source_vd": source_vd, "job": for_job}
        here.show(here.api.post("/jobs/backup-vds", body), job_views.backup_vds)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    source_vd: Annotated[str | None, typer.Option(help="The VD to replicate.")] = None,
    address: Annotated[str | None, typer.Option(help="An iSCSI port's address of the target subsystem.")] = None,
    node: Annotated[str | None, typer.Option(help="The target's iSCSI node: its IQN.")] = None,
    chap_user: Annotated[str | None, typer.Option(help="The node's CHAP name.")] = None,
    chap_secret_file: asking.ChapFile = None,
    mutual_user: Annotated[str | None, typer.Option(help="The CHAP name by which the node proves itself.")] = None,
    mutual_secret_file: asking.MutualFile = None,
    lun: Annotated[int | None, typer.Option(help="The backup VD's LUN.")] = None,
    vd: Annotated[str | None, typer.Option(help="The backup VD's name, in place of --lun.")] = None,
    plain_target: Annotated[
        bool, typer.Option("--plain-target", help="To another maker's disk: no recovery points, fewer guarantees.")
    ] = False,
    overwrite: Annotated[
        str | None, typer.Option(help="The identity of a plain target's disk, whose content may be lost.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The TCP port of the target's iSCSI portal.")] = 3260,
    comment: Annotated[str, typer.Option(help="What is to be said of it.")] = "",
    peer_port: PeerPort = 3261,
    rpo: Annotated[str | None, typer.Option(help="How old its copy may become, such as 30m, 1h or 1d.")] = None,
    as_json: Json = False,
) -> None:
    """Make a replication job. What is not given is asked for on a terminal, step by step."""
    with session(context, as_json=as_json) as here:
        given = wizard.Given(
            name=name,
            source_vd=source_vd,
            address=address,
            port=port,
            peer_port=peer_port,
            node=node,
            chap_user=chap_user,
            chap_file=chap_secret_file,
            mutual_user=mutual_user,
            mutual_file=mutual_secret_file,
            lun=lun,
            vd=vd,
            rpo_minutes=None if rpo is None else parse_minutes(rpo),
            plain=plain_target,
            overwrite=overwrite,
            comment=comment,
        )
        job = here.api.post("/jobs", wizard.complete(here.api, given))
        here.say(
            f"Job “{name}” was made: {job['source_vd']} → {job['target_vd']} on {job['target_subsystem']}. "
            f"{job_views.warning(job)}Run it with “qreplica job start {name} --follow”.",
            job,
        )


@app.command()
def start(
    context: typer.Context,
    name: Name,
    follow: Follow = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: what will happen is known.")] = False,
    as_json: Json = False,
) -> None:
    """Run a job: a full copy the first time, then only what changed. A stopped or failed one goes on.

    On a terminal you are told what will happen, and asked.
    """
    with session(context, as_json=as_json) as here:
        # Where nobody can be asked it starts at once: nothing is lost by it.
        if not yes and asking.on_terminal():
            asking.go_on(job_views.next_run(here.api.get(path("jobs", name))))
        job = here.api.post(path("jobs", name, "start"))
        if follow:
            _follow(here, name)
        elif job["queued"]:
            here.say(f"Job “{name}” was queued, {job['queued']['sentence']}.", job)
        else:
            here.say(f"Job “{name}” was started: watch it with “qreplica job watch {name}”.", job)


@app.command()
def watch(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a job's progress until it ends."""
    with session(context, as_json=as_json) as here:
        _follow(here, name)


@app.command()
def stop(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Stop a running job; what was sent is kept, and the next start goes on from there."""
    with session(context, as_json=as_json) as here:
        job = here.api.post(path("jobs", name, "stop"))
        here.say(f"Job “{name}” stops; what was sent is kept.", job)


@app.command()
def pause(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Have a job begin nothing until it is resumed; a running one stops, and keeps what was sent."""
    with session(context, as_json=as_json) as here:
        job = here.api.post(path("jobs", name, "pause"))
        here.say(f"Job “{name}” is paused: let it go on with “qreplica job resume {name}”.", job)


@app.command()
def resume(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let a paused job go on from where it was."""
    with session(context, as_json=as_json) as here:
        job = here.api.post(path("jobs", name, "resume"))
        here.say(f"Job “{name}” is not paused: it is {job['state']}.", job)


@app.command("accept-disk")
def accept_disk(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Let a job overwrite all of its plain target, after its reservation was lost or taken."""
    with session(context, as_json=as_json) as here:
        job = here.api.get(path("jobs", name))
        disk = job["plain"]["disk"] if job["plain"] else job["target_vd"]
        asking.confirm(name, f"All that disk {disk} holds now will be overwritten by the next cycle.", yes=yes)
        job = here.api.post(path("jobs", name, "accept-disk"), {"disk": disk})
        here.say(f"The next cycle of job “{name}” is a full copy: run it with “qreplica job start {name}”.", job)


@app.command("give-way")
def give_way(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Make of a superseded job's source VD the backup VD of the copy that was promoted: half of the way back."""
    with session(context, as_json=as_json) as here:
        found = here.api.get(path("jobs", name, "give-way"))
        vd, generation = found["vd"], found["generation"]
        lost = f"VD “{vd}” goes back to generation {generation}, and a snapshot keeps {found['sentence']}."
        asking.confirm(vd, lost, yes=yes)
        done = here.api.post(path("jobs", name, "give-way"), {"confirm": vd})
        for problem in done["problems"]:
            here.warn(f"It is not served everywhere yet: {problem}")
        here.say(
            f"VD “{vd}” is a backup VD with the content of generation {generation} now; snapshot “{done['kept']}” has "
            "what was written here since. Attach it to an iSCSI node, and make a job on the other side.",
            done,
        )


app.command("failover")(job_failover.failover)
app.command("verify")(job_verification.verify)
app.command("repair")(job_verification.repair)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a job. The backup VD and its recovery points stay on the target; a plain target keeps its copy."""
    with session(context, as_json=as_json) as here:
        job = here.api.get(path("jobs", name))
        kept = "" if job["plain"] else f" Backup VD “{job['target_vd']}” keeps its recovery points."
        loss = f"Job “{name}” and its history will be lost, and a new job has to begin with a full copy.{kept}"
        asking.confirm(name, loss, yes=yes)
        here.api.delete(path("jobs", name))
        here.say(f"Job “{name}” was deleted.")


def _follow(here: Session, name: str) -> None:
    from qreplica.cli import following  # noqa: PLC0415 - only two commands draw progress

    following.follow(here, name)
