"""The paths of a job: the white paper's wizard that adds a redundant one, and what takes one away."""

from typing import Any

from nicegui import ui

from qreplica.ui.dialogs import confirm, dialog
from qreplica.ui.jobs.target import TargetSteps
from qreplica.ui.looking import Looking, tell


def wizard(here: Looking, job: dict[str, Any]) -> None:
    """Open the wizard: address of controller 2, iSCSI node, the same backup VD."""
    with dialog(f"Create multi-path on {job['name']}") as made:
        with ui.stepper().props("vertical").classes("full-width") as stepper:

            async def chosen(target: dict[str, Any], vd: dict[str, Any]) -> None:
                where = {one: target[one] for one in ("address", "port", "peer_port", "node")}
                body = {**where, "lun": vd["lun"]}
                await here.rest.post("jobs", job["name"], "paths", body=body)
                made.close()
                tell(f"“{job['name']}” has a further path by {target['address']}.")

            TargetSteps(
                here,
                stepper,
                "Enter the IP address of an iSCSI port on controller 2 of the target subsystem.",
                chosen,
                "Add the path",
                job=job["name"],
            )
        ui.button("Cancel", on_click=made.close).props("flat").classes("self-end")


def remove(here: Looking, job: dict[str, Any], path: dict[str, Any]) -> None:
    """Ask whether to take a path away."""
    address = path["address"]
    confirm(
        here,
        f"Remove the path by {address}",
        f"“{job['name']}” no longer goes by {address}; data that is on its way there goes on by another path.",
        "Remove",
        lambda: here.rest.delete("jobs", job["name"], "paths", address, path["port"]),
        done=f"“{job['name']}” has one path less.",
    )
