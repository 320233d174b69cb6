"""The page that an administrator keeps open: what runs, which copies fall behind, and what needs a hand."""

import asyncio
from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.controllers import diagram
from qreplica.ui.frame import chip, empty, heading, link, page
from qreplica.ui.jobs import past
from qreplica.ui.looking import Looking

_WORST, _EVENTS = 8, 10


@page("/", "Overview")
async def overview(here: Looking) -> None:
    """Show the subsystem at a glance."""
    answer = await _look(here)

    @ui.refreshable
    def shown() -> None:
        with ui.card().classes("panel"):
            heading("Controllers")
            diagram(answer["controllers"], answer["ports"])
        with ui.element("div").classes("panels"):
            _jobs(answer["jobs"], has_qreplica=here.has_qreplica)
            _capacity(answer["raid-groups"])

    @ui.refreshable
    def latest() -> None:
        _events(here, answer["events"])

    shown()
    if here.has_qreplica:
        await past.show(here)
    latest()

    async def look() -> None:
        new = await _look(here)
        old = dict(answer)
        answer.update(new)
        if any(new[name] != old[name] for name in new if name != "events"):
            shown.refresh()
        if new["events"] != old["events"]:
            latest.refresh()

    here.keep_up(look)


async def _look(here: Looking) -> dict[str, Any]:
    names = ("controllers", "ports", "jobs", "raid-groups")
    found = await asyncio.gather(*map(here.rest.get, names), here.rest.get("events", limit=_EVENTS))
    return dict(zip((*names, "events"), found, strict=True))


def _jobs(jobs: list[dict[str, Any]], *, has_qreplica: bool) -> None:
    with ui.card().classes("panel"):
        heading("Replication")
        if not jobs:
            empty(
                "No virtual disk is replicated yet: make a job on the QReplica page."
                if has_qreplica
                else "Replication needs a license: upload it on the QReplica license page."
            )
            return
        with ui.row():
            for state in sorted({wording.state(job) for job in jobs}):
                count = sum(wording.state(job) == state for job in jobs)
                ui.badge(f"{count} {state}", color=wording.colour(state)).classes("chip")
        worst = sorted(jobs, key=_lag, reverse=True)[:_WORST]
        known = [job for job in worst if job["lag_seconds"] is not None]
        if known:
            _lag_chart(known[::-1])
        for job in worst:
            with ui.row().classes("items-center"):
                ui.link(job["name"], link("qreplica", job["name"]))
                chip(wording.state(job))
                ui.label(wording.lag(job))
                ui.label(wording.progress(job))


def _lag(job: dict[str, Any]) -> float:
    return float("inf") if job["lag_seconds"] is None else float(job["lag_seconds"])


def _lag_chart(jobs: list[dict[str, Any]]) -> None:
    ui.echart(
        {
            "aria": {"enabled": True},
            "animation": False,
            "grid": {"left": 8, "right": 24, "top": 28, "bottom": 8, "containLabel": True},
            "title": {"text": "Minutes behind, the furthest first", "textStyle": {"fontSize": 13}},
            "xAxis": {"type": "value"},
            "yAxis": {"type": "category", "data": [job["name"] for job in jobs]},
            "series": [
                {
                    "type": "bar",
                    "data": [round(job["lag_seconds"] / 60, 2) for job in jobs],
                    "barMaxWidth": 18,
                    "itemStyle": {"color": "#1f5fae"},
                }
            ],
        }
    ).style(f"height: {60 + 28 * len(jobs)}px")


def _capacity(groups: list[dict[str, Any]]) -> None:
    with ui.card().classes("panel"):
        heading("RAID groups")
        if not groups:
            empty("There is no RAID group yet: make one on the Storage page.")
        for group in groups:
            promised = group["vd_space"] + group["snapshot_space"]
            room = group["usable"] - group["reserve"]
            with ui.row().classes("items-center"):
                ui.label(group["name"]).classes("text-bold")
                chip(group["health"])
                ui.label(f"{wording.size(promised)} of {wording.size(room)} promised")
            share = promised / room if room else 0.0
            ui.linear_progress(share, show_value=False, size="14px").props(
                f'aria-label="Promised of {group["name"]}: {share:.0%}"'
            )


def _events(here: Looking, events: list[dict[str, Any]]) -> None:
    with ui.card().classes("panel"):
        heading("Latest events")
        if not events:
            empty("Nothing has happened yet.")
        for event in events:
            with ui.row().classes("items-center"):
                ui.label(wording.time(event["at"], here.zone))
                chip(event["severity"])
                ui.label(event["message"])
