"""Whether a job's copy is what was replicated: the last verification, and what can be done about it."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import Offer, buttons, confirm, dialog, offer
from qreplica.ui.following import follow
from qreplica.ui.frame import chip, heading
from qreplica.ui.looking import Looking

Found = dict[str, Any]

_NAMED: Final = 5
_MOST_DAYS: Final = 366


async def show(here: Looking, job: str) -> None:
    """Show it, and keep up."""
    with ui.card().classes("panel"):
        heading("Verification")
        await follow(here, lambda: here.rest.get("jobs", job, "verification"), lambda found: _show(here, job, found))


def _show(here: Looking, job: str, found: Found) -> None:
    with ui.row().classes("items-center"):
        chip(found["state"])
        ui.label(_told(here, found))
    if found["state"] == "running":
        ui.linear_progress(found["percent"] / 100, show_value=False, size="16px").props('aria-label="Verified"')
    if found["error"]:
        ui.label(found["error"]).classes("text-negative")
    if found["state"] == "differs":
        ui.label(f"It differs in {wording.size(found['differing_bytes'])}: {_ranges(found)}.").classes("text-negative")
    if found["repair"]:
        ui.label("The next cycle, or the one that runs, sends that again.")
    offer(here, _offered(here, job, found))


def _told(here: Looking, found: Found) -> str:
    first, last = found["first_generation"], found["generation"]
    which = f"generation {last}" if first == last else f"generations {first} to {last}"
    at = wording.time(found["finished_at"], here.zone)
    rate = f", {wording.rate(found['rate'])}" if found["rate"] else ""
    left = "" if found["eta_seconds"] is None else f", {wording.duration(found['eta_seconds'])} left"
    often = f" One begins every {found['every_days']} days." if found["every_days"] else ""
    return {
        "never": "The copy was never compared with what was replicated.",
        "running": f"{wording.size(found['position'])} of {wording.size(found['size'])} are compared{rate}{left}.",
        "stopped": f"It was stopped {at}.",
        "passed": f"{wording.size(found['size'])} of {which} were the same on both sides, {at}.",
        "differs": f"The copy of {which} is not what was replicated, {at}.",
        "repaired": f"{wording.size(found['differing_bytes'])} that differed were sent again: verify it once more.",
        "failed": f"It failed {at}.",
    }[found["state"]] + often


def _ranges(found: Found) -> str:
    named = ", ".join(f"{wording.size(one['length'])} at byte {one['offset']}" for one in found["differing"][:_NAMED])
    more = found["differing_ranges"] - _NAMED
    return named if more <= 0 else f"{named} and {more} more ranges"


def _offered(here: Looking, job: str, found: Found) -> list[Offer]:
    if not here.may(Role.OPERATOR):
        return []
    runs = found["state"] == "running"
    may: list[Offer] = [("Stop", partial(_stop, here, job)) if runs else ("Verify", partial(_verify, here, job))]
    if found["state"] == "differs" and not found["repair"]:
        may.append(("Repair", partial(_repair, here, job, found)))
    may.append(("How often", partial(_schedule, here, job, found)))
    return may


def _verify(here: Looking, job: str) -> None:
    with dialog(f"Verify the copy of {job}") as made:
        ui.label(
            "Both sides read their own snapshots of one generation, and compare digests. Hosts and cycles go on; "
            "reading takes some of the disks' speed from them."
        )
        limit = ui.input("At most so much a second on each side, such as 100MiB (empty: no limit)").classes(
            "full-width"
        )

        async def verify() -> None:
            await here.rest.post("jobs", job, "verification", body={"limit": limit.value or None})

        buttons(here, made, "Verify", verify, f"The copy of “{job}” is being verified.", inputs={"limit": limit})


async def _stop(here: Looking, job: str) -> None:
    await here.rest.delete("jobs", job, "verification")


def _repair(here: Looking, job: str, found: Found) -> None:
    confirm(
        here,
        f"Repair the copy of {job}",
        f"A cycle sends the {wording.size(found['differing_bytes'])} that differ, beside what has changed: the next "
        "recovery point is right. Those that are there stay as they are.",
        "Repair",
        lambda: here.rest.post("jobs", job, "verification", "repair"),
        done=f"The copy of “{job}” is repaired by its next cycle.",
    )


def _schedule(here: Looking, job: str, found: Found) -> None:
    with dialog(f"How often {job} is verified") as made:
        days = ui.number(
            "Days from begin to begin (empty: by hand only)",
            value=found["every_days"],
            min=1,
            max=_MOST_DAYS,
            precision=0,
        ).classes("full-width")

        async def save() -> None:
            body = {"days": None if days.value is None else int(days.value)}
            await here.rest.put("jobs", job, "verification", "schedule", body=body)

        buttons(here, made, "Save", save, "It was set.", inputs={"days": days})
