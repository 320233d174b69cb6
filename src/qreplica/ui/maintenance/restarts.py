"""Restarting a controller, or both."""

from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import confirm
from qreplica.ui.entries import entries, entry
from qreplica.ui.looking import Looking


def show(here: Looking, controllers: list[dict[str, Any]]) -> None:
    """Show the controllers, each with what restarts it."""
    with entries("Controllers"):
        for one in controllers:
            with entry(
                f"Controller {one['number']}",
                f"Version {one['version']}" if one["version"] else "It has never started",
                f"Started {wording.time(one['started_at'], here.zone)}",
                chips=("restarting" if one["restarting"] else one["standing"],),
            ):
                if here.may(Role.OPERATOR) and one["alive"] and not one["restarting"]:
                    ui.button(
                        f"Restart controller {one['number']}", on_click=partial(_controller, here, one, controllers)
                    ).props("flat")
                if here.may(Role.OPERATOR) and one["alive"] and one["standing"] == "taken-over":
                    ui.button("Hand its jobs back", on_click=partial(_fail_back, here, one)).props("flat")
    if here.may(Role.ADMIN):
        ui.button("Restart the subsystem", on_click=partial(subsystem, here))


def subsystem(here: Looking, why: str = "") -> None:
    """Ask whether to restart both controllers; ``why`` one should."""
    confirm(
        here,
        "Restart the subsystem",
        f"{why} The controllers restart one after the other: hosts use the other one meanwhile, and this page is "
        "away while its controller restarts.".strip(),
        "Restart now",
        lambda: here.rest.post("subsystem", "restart"),
        done="The controllers restart, one after the other.",
    )


def _fail_back(here: Looking, one: dict[str, Any]) -> None:
    confirm(
        here,
        f"Hand controller {one['number']} its jobs back",
        "The other controller gives them back after the cycles that run.",
        "Hand back",
        lambda: here.rest.post("controllers", one["number"], "fail-back"),
        done=f"Controller {one['number']} runs its jobs again after the cycles that run.",
    )


def _controller(here: Looking, one: dict[str, Any], controllers: list[dict[str, Any]]) -> None:
    others = [other for other in controllers if other["number"] != one["number"] and other["alive"]]
    hosts = (
        f"Its jobs and hosts use controller {others[0]['number']} meanwhile"
        if others
        else "No other controller is there: hosts lose their disks, and no job runs, until it is back"
    )
    confirm(
        here,
        f"Restart controller {one['number']}",
        f"{hosts}. Pages of that controller are away while it restarts.",
        "Restart now",
        lambda: here.rest.post("controllers", one["number"], "restart"),
        done=f"Controller {one['number']} restarts.",
    )
