"""The operation menu of a job (the OP. button of the white paper)."""

from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import Offer, choose, confirm, confirm_loss
from qreplica.ui.frame import link
from qreplica.ui.jobs import editing, giving_way, multipath, schedule
from qreplica.ui.looking import Looking

Job = dict[str, Any]


def menu(here: Looking, job: Job) -> None:
    """Offer what can be done with the job."""
    none = "Your role may only look: ask an administrator for the role “operator”."
    choose(here, f"Operations on {job['name']}", _offered(here, job), none)


def _offered(here: Looking, job: Job) -> list[Offer]:
    if not here.may(Role.OPERATOR):
        return []
    runs = job["state"] in {"queued", "running", "waiting", "stopping"}
    back: list[Offer] = []
    fails_over = job["error"] is not None and job["error"]["kind"] == "failing-over"
    if job["state"] == "superseded" and not fails_over and here.may(Role.ADMIN):
        back = [("Give way to the promoted copy", partial(giving_way.dialog_for, here, job))]
    elif here.may(Role.ADMIN) and job["plain"] is None:
        back = [("Planned failover", partial(ui.navigate.to, link("qreplica", job["name"], "failover")))]
    return [
        *back,
        ("Stop", partial(_stop, here, job)) if runs else ("Start", partial(_start, here, job)),
        ("Resume", partial(_resume, here, job)) if job["paused"] else ("Pause", partial(_pause, here, job)),
        ("Create multi-path", partial(multipath.wizard, here, job)),
        ("Schedule", partial(schedule.dialog_for, here, job)),
        ("Edit", partial(editing.dialog_for, here, job)),
        ("Delete", partial(_delete, here, job)),
    ]


def _start(here: Looking, job: Job) -> None:
    base = job["base_generation"]
    what = (
        f"The whole of “{job['source_vd']}” ({wording.size(job['source_size'])}) is copied to “{job['target_vd']}”."
        if base is None
        else f"What changed on “{job['source_vd']}” since recovery point {base} is sent to “{job['target_vd']}”."
    )
    confirm(
        here,
        f"Start {job['name']}",
        what,
        "Start",
        lambda: here.rest.post("jobs", job["name"], "start"),
        done=f"“{job['name']}” was started.",
    )


def _stop(here: Looking, job: Job) -> None:
    confirm(
        here,
        f"Stop {job['name']}",
        "What was sent is kept: started again, the job goes on from its last checkpoint.",
        "Stop",
        lambda: here.rest.post("jobs", job["name"], "stop"),
        done=f"“{job['name']}” stops.",
    )


def _pause(here: Looking, job: Job) -> None:
    confirm(
        here,
        f"Pause {job['name']}",
        "It begins nothing by itself until it is resumed; its copy falls behind meanwhile.",
        "Pause",
        lambda: here.rest.post("jobs", job["name"], "pause"),
        done=f"“{job['name']}” is paused.",
    )


def _resume(here: Looking, job: Job) -> None:
    confirm(
        here,
        f"Resume {job['name']}",
        "It goes on where it was, and runs by its schedule again.",
        "Resume",
        lambda: here.rest.post("jobs", job["name"], "resume"),
        done=f"“{job['name']}” goes on.",
    )


def _delete(here: Looking, job: Job) -> None:
    confirm_loss(
        here,
        f"Delete {job['name']}",
        f"The job and its snapshots of “{job['source_vd']}” are deleted. “{job['target_vd']}” keeps its recovery "
        "points, but a new job must copy everything again.",
        job["name"],
        lambda: here.rest.delete("jobs", job["name"]),
        done=f"“{job['name']}” was deleted.",
    )
