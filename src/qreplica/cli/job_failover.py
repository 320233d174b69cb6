"""``qreplica job failover``: planned, with both sides alive."""

import time
from typing import Annotated, Any

import httpx
import typer

from qreplica.cli import asking
from qreplica.cli.context import Json, Session, Yes, path, session
from qreplica.cli.errors import FollowedFailoverEnded, Refused
from qreplica.cli.following import figures
from qreplica.cli.progress import Display, Progress, display

#: Seconds between two looks.
INTERVAL = 0.5
#: What each step does, and how much of the whole is done when it begins (percent).
_STEPS = {
    "protect": ("hosts are made to only read", 0.0),
    "copy": ("the last changes are copied", 10.0),
    "promote": ("the copy is promoted", 80.0),
    "swap": ("the roles are swapped", 90.0),
}


def failover(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The job's name.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Call a failover that is under way off.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Call it off though the target cannot be asked, since it is gone for good.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Only tell what it would do, or how far it is.")] = False,
    detach: Annotated[bool, typer.Option("--no-wait", help="Return as soon as it has begun; it goes on.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Let hosts go on with the copy, without a loss: the last changes are copied before the roles swap."""
    with session(context, as_json=as_json) as here:
        if cancel:
            if force:
                told = "If hosts use the copy, or ever will, there are two histories of their data from then on."
                asking.confirm(name, told, yes=yes)
            here.api.delete(path("jobs", name, "failover"), {"force": force})
            here.say(f"The failover of “{name}” was called off: hosts can write again.", {"job": name})
            return
        found = here.api.get(path("jobs", name, "failover"))
        if show:
            here.show(found, _told)
            return
        if not found["under_way"]:
            asking.confirm(found["vd"], f"Failing over does this: {found['sentence']}.", yes=yes)
            found = here.api.post(path("jobs", name, "failover"), {"confirm": found["vd"]})
        if detach:
            here.say(f"“{name}” fails over; “qreplica job failover {name} --show” tells how far it is.", found)
            return
        _follow(here, found)


def _follow(here: Session, found: dict[str, Any]) -> None:
    """Show the failover on stderr until it is done, then what came of it. Raises FollowedFailoverEnded."""
    name, vd = found["job"], found["vd"]
    with display(as_json=here.as_json) as shown_on:
        while found["under_way"]:
            _show(here, shown_on, found)
            time.sleep(INTERVAL)
            found = _look(here, name) or {**found, "under_way": False}
    disk = here.api.get(path("virtual-disks", vd))
    if disk["type"] != "BACKUP":
        raise FollowedFailoverEnded(name=name, vd=vd)
    here.say(
        f"Hosts can use “{found['target_vd']}” on {found['target_subsystem']} now, with generation "
        f"{found['generation']}: attach it to their iSCSI node there. 0 bytes were lost. “{vd}” is a backup virtual "
        "disk: attach it to a node for replication, and make a job from there to here.",
        {**found, "lost_bytes": 0},
    )


def _look(here: Session, name: str) -> dict[str, Any] | None:
    """Return how far it is; None once the job is gone, with which it ends, or was called off."""
    try:
        answer: dict[str, Any] = here.api.get(path("jobs", name, "failover"))
    except Refused as refusal:
        # Gone, or no longer failing over and such that it could not begin to; anything else says nothing of that.
        if refusal.body.get("status") not in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            raise
        return None
    return answer


def _show(here: Session, shown_on: Display, found: dict[str, Any]) -> None:
    what, percent = _STEPS[found["step"]]
    detail = what
    if found["step"] == "copy":
        job = here.api.get(path("jobs", found["job"]))
        cycle = job["cycle"]
        if cycle is not None and cycle["finished_at"] is None:
            percent += (cycle["percent"] or 0.0) * 0.7
            detail = figures(cycle)
    shown_on.update(Progress(found["job"], found["step"], percent, detail), waiting=found["error"] is not None)
    if found["error"]:
        shown_on.remark(found["job"], f"waiting: {found['error']}")


def _told(found: dict[str, Any]) -> str:
    if not found["under_way"]:
        return f"A failover of “{found['job']}” does this: {found['sentence']}."
    what, _ = _STEPS[found["step"]]
    hindered = f" It waits: {found['error']}" if found["error"] else ""
    return f"“{found['job']}” is failing over: {what} (step “{found['step']}”).{hindered}"
