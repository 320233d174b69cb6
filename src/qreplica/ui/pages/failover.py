"""A planned failover: what it does, the word for it, and how far it is."""

from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import name_again
from qreplica.ui.frame import empty, heading, link, page
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Refused

_GONE: Final = "not-found"
_EVERY: Final = 1.0
_STEPS: Final = {
    "protect": "Hosts can only read the source",
    "copy": "What they wrote until then is copied",
    "promote": "The copy is promoted",
    "swap": "The roles are swapped",
}


@page("/qreplica/{name}/failover", "Planned failover")
async def failover_page(here: Looking, name: str) -> None:
    """Show the failover of a job, or offer one."""
    try:
        answer = await _look(here, name)
    except Refused as refused:
        empty(refused.sentence)
        return

    @ui.refreshable
    def shown() -> None:
        with ui.card().classes("panel"):
            heading(f"Planned failover of {name}")
            _show(here, answer)

    async def look() -> None:
        if not answer["under_way"] or answer["done"]:
            return
        new = await _look(here, name, answer)
        if new != answer:
            answer.update(new)
            shown.refresh()

    async def begin(vd: str) -> None:
        answer.update(await here.rest.post("jobs", name, "failover", body={"confirm": vd}))
        shown.refresh()

    async def call_off() -> None:
        await here.rest.delete("jobs", name, "failover")
        ui.navigate.to(link("qreplica", name))

    answer["begin"], answer["call_off"] = begin, call_off
    shown()
    here.keep_up(look, _EVERY)


async def _look(here: Looking, name: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is shown; ``before`` is what was when it was under way, after which the job is gone."""
    try:
        found = await here.rest.get("jobs", name, "failover")
        job = await here.rest.get("jobs", name)
    except Refused as refused:
        if before is None or refused.kind != _GONE:
            raise
        return {**before, "done": True, "error": None}
    return {**(before or {}), **found, "cycle": job["cycle"], "done": False}


def _show(here: Looking, answer: dict[str, Any]) -> None:
    if answer["done"]:
        _steps(answer)
        _what_next(answer)
    elif answer["under_way"]:
        _steps(answer)
        if answer["error"]:
            ui.label(f"It waits: {answer['error']}").classes("text-negative").props("role=alert")
        if here.may(Role.ADMIN):
            ui.button("Call it off", on_click=lambda: here.attempt(answer["call_off"]())).props("flat")
    else:
        ui.label(f"This is what happens: {answer['sentence']}.")
        ui.label(
            "Nothing is lost. Prepare the hosts: unmount what is on the disk, or expect that their writes are refused "
            f"until they use “{answer['target_vd']}”."
        )
        if here.may(Role.ADMIN):
            _ask(here, answer)
        else:
            ui.label("It takes the role “admin”.")


def _ask(here: Looking, answer: dict[str, Any]) -> None:
    vd = answer["vd"]
    typed = name_again(vd)
    button = ui.button("Fail over", on_click=lambda: here.attempt(answer["begin"](vd))).props("color=negative")
    button.bind_enabled_from(typed, "value", lambda value: value == vd)


def _steps(answer: dict[str, Any]) -> None:
    order = list(_STEPS)
    present = len(order) if answer["done"] else order.index(answer["step"])
    with ui.list().props("aria-live=polite"):
        for number, (step, what) in enumerate(_STEPS.items()):
            icon, told = (
                ("check_circle", "done")
                if number < present
                else ("pending", "under way")
                if number == present
                else ("radio_button_unchecked", "to come")
            )
            with ui.item():
                with ui.item_section().props("avatar"):
                    ui.icon(icon, color="positive" if number < present else None).props("aria-hidden=true")
                with ui.item_section():
                    ui.item_label(what)
                    ui.item_label(told).props("caption")
                    if number == present and step == "copy":
                        _progress(answer["cycle"])


def _progress(cycle: dict[str, Any] | None) -> None:
    if cycle is None or cycle["finished_at"] is not None:
        return
    ui.linear_progress(cycle["percent"] / 100, show_value=False, size="16px").props('aria-label="Progress"')
    left = cycle["eta_seconds"]
    told = f"{wording.size(cycle['done_bytes'])} of {wording.size(cycle['total_bytes'])}, {wording.rate(cycle['rate'])}"
    ui.label(told if left is None else f"{told}, {wording.duration(left)} left")


def _what_next(answer: dict[str, Any]) -> None:
    ui.label("0 bytes were lost: the source is what was copied last, byte for byte.").classes("text-positive")
    ui.label(
        f"Now attach “{answer['target_vd']}” on {answer['target_subsystem']} to the iSCSI node of its hosts. "
        f"“{answer['vd']}” is a backup virtual disk here: attach it to a node for replication, and make a job on "
        f"{answer['target_subsystem']}, which sends only what changes from now on."
    )
    ui.link(f"Show “{answer['vd']}”", link("storage", "virtual-disks", answer["vd"]))
