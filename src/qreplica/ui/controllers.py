"""The controllers and their ports, as the white paper's network diagram draws them."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.frame import chip

#: Adds to the box of a port whatever a page offers there.
Offer = Callable[[dict[str, Any]], None]


def diagram(controllers: list[dict[str, Any]], ports: list[dict[str, Any]], offer: Offer | None = None) -> None:
    """Draw each controller as a box with the boxes of its ports."""
    with ui.element("div").classes("panels"):
        for controller in controllers:
            with ui.element("section").classes("controller"):
                _head(controller)
                with ui.element("div").classes("ports"):
                    for port in ports:
                        if port["controller"] == controller["number"]:
                            _port(port, offer)


def _head(controller: dict[str, Any]) -> None:
    with ui.row().classes("items-center"):
        ui.label(f"Controller {controller['number']}").classes("text-bold")
        chip("restarting" if controller["restarting"] else controller["standing"])
        ui.label(f"for {wording.age(controller['since'])}" if controller["since"] else "it has never started")
        others = [number for number in controller["runs_jobs_of"] if number != controller["number"]]
        if others:
            ui.label(f"runs the jobs of controller {others[0]} too")


def _port(port: dict[str, Any], offer: Offer | None) -> None:
    with ui.element("div").classes("port qreplica" if port["qreplica"] else "port"):
        ui.label(f"iSCSI port {port['number']}")
        ui.label(f"{port['address']}/{port['prefix_length']}")
        if port["qreplica"]:
            ui.badge("QReplica port", color="primary").classes("chip")
        elif port["hosts"]:
            ui.label(f"{len(port['hosts'])} host{'s' if len(port['hosts']) > 1 else ''}")
            ui.tooltip("\n".join(port["hosts"]))
        if offer is not None:
            offer(port)
