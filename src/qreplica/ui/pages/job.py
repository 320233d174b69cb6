"""One replication job: what it is doing, its paths, and what its runs sent."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.facts import facts
from qreplica.ui.frame import chip, empty, heading, page
from qreplica.ui.jobs import history, multipath, operations, past, verification
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Refused

_CYCLES, _EVENTS = 50, 20


@page("/qreplica/{name}", "Replication job")
async def job_page(here: Looking, name: str) -> None:
    """Show a job."""
    try:
        answer = await _look(here, name)
    except Refused as refused:
        empty(refused.sentence)
        return

    @ui.refreshable
    def shown() -> None:
        job = answer["job"]
        with ui.card().classes("panel"):
            _head(here, job)
        with ui.element("div").classes("panels"):
            with ui.card().classes("panel"):
                heading("Paths")
                _paths(here, job)
            with ui.card().classes("panel"):
                heading("Facts")
                _facts(here, job)

    @ui.refreshable
    def runs() -> None:
        with ui.card().classes("panel"):
            heading("Runs")
            history.show(here, answer["cycles"])
        with ui.card().classes("panel"):
            heading("Events")
            _events(here, answer["events"])

    shown()
    if answer["job"]["plain"] is None:
        await verification.show(here, name)
    await past.show(here, name)
    runs()

    async def look() -> None:
        new = await _look(here, name)
        old = dict(answer)
        answer.update(new)
        if new["job"] != old["job"]:
            shown.refresh()
        if (new["cycles"], new["events"]) != (old["cycles"], old["events"]):
            runs.refresh()

    here.keep_up(look)


async def _look(here: Looking, name: str) -> dict[str, Any]:
    job, cycles, events = await asyncio.gather(
        here.rest.get("jobs", name),
        here.rest.get("jobs", name, "cycles", limit=_CYCLES),
        here.rest.get("events", subject=f"job {name}", limit=_EVENTS),
    )
    ended = [one for one in cycles if one["finished_at"] is not None]
    return {"job": job, "cycles": ended, "events": events}


def _head(here: Looking, job: dict[str, Any]) -> None:
    with ui.row().classes("items-center"):
        heading(job["name"])
        chip(wording.state(job))
        ui.label(f"Behind: {wording.lag(job)}")
        ui.button("OP.", on_click=partial(operations.menu, here, job)).props('aria-label="Operations on this job"')
    cycle = job["cycle"]
    if cycle is not None and cycle["finished_at"] is None:
        ui.label(f"{wording.text(cycle['kind'])} run {cycle['generation']}: {cycle['step']}, {wording.progress(job)}")
        ui.linear_progress(cycle["percent"] / 100, show_value=False, size="16px").props('aria-label="Progress"')
        ui.label(f"{wording.size(cycle['sent_bytes'])} sent of {wording.size(cycle['total_bytes'])} that changed")
    for sentence in (job["error"] and job["error"]["sentence"], job["unlicensed"]):
        if sentence:
            ui.label(sentence).classes("text-negative")


def _paths(here: Looking, job: dict[str, Any]) -> None:
    for one in job["paths"]:
        with ui.row().classes("items-center"):
            ui.label(f"{one['address']}:{one['port']}")
            chip(one["state"])
            ui.label(f"since {wording.time(one['since'], here.zone)}")
            if len(job["paths"]) > 1 and here.may(Role.OPERATOR):
                remove = ui.button(icon="delete", on_click=partial(multipath.remove, here, job, one)).props(
                    "flat dense"
                )
                remove.props["aria-label"] = f"Remove the path by {one['address']}"
        if one["reason"]:
            ui.label(one["reason"]).classes("text-negative")


def _facts(here: Looking, job: dict[str, Any]) -> None:
    facts(
        {
            "Source": f"{job['source_vd']} ({wording.size(job['source_size'])})",
            "Target": f"{job['target_subsystem']}: {job['target_vd']} ({wording.size(job['target_size'])})",
            "iSCSI node": f"{job['target_node']}, LUN {job['target_lun']}",
            "Schedule": wording.text(job["schedule"]),
            "Next run": wording.time(job["next_run_at"], here.zone),
            "Recovery point": wording.text(job["base_generation"]),
            "Committed": wording.time(job["last_committed_at"], here.zone),
            "Left to send, at most": wording.size(job["backlog_bytes"]),
            "Last progress": wording.time(job["last_progress_at"], here.zone),
            "Runs on controller": str(job["controller"]),
            "Comment": wording.text(job["comment"]),
        }
    )


def _events(here: Looking, events: list[dict[str, Any]]) -> None:
    if not events:
        empty("Nothing has happened to this job yet.")
    for event in events:
        with ui.row().classes("items-center"):
            ui.label(wording.time(event["at"], here.zone))
            chip(event["severity"])
            ui.label(event["message"])
