"""The white paper's wizard that makes a replication job."""

from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import dialog
from qreplica.ui.jobs.target import TargetSteps
from qreplica.ui.looking import Looking, tell


async def wizard(here: Looking) -> None:
    """Open the wizard: source VD, target address, iSCSI node, backup VD."""
    vds = await here.rest.get("qreplica", "source-vds")
    fit = {one["name"]: f"{one['name']} ({wording.size(one['size'])})" for one in vds if one["qualifies"]}
    with dialog("Create a replication job") as made, ui.stepper().props("vertical").classes("full-width") as stepper:
        with ui.step("Source virtual disk"):
            if not fit:
                ui.label("There is no virtual disk that could be replicated: make one of type RAID first.")
            source = ui.radio(fit)
            for one in vds:
                if not one["qualifies"]:
                    ui.label(f"{one['name']}: {one['reason']}").classes("step-facts")
            name = ui.input("Name of the job")
            wrong = ui.label().classes("text-negative").props("role=alert")

            def go_on() -> None:
                if source.value is None:
                    wrong.text = "Choose the virtual disk to replicate."
                    return
                name.value = name.value or source.value
                stepper.next()

            with ui.stepper_navigation():
                ui.button("Next", on_click=go_on)
                ui.button("Cancel", on_click=made.close).props("flat")

        async def chosen(target: dict[str, Any], vd: dict[str, Any]) -> None:
            body = {"name": name.value, "source_vd": source.value, "lun": vd["lun"], **target}
            job = await here.rest.post("jobs", body=body)
            made.close()
            tell(f"“{job['name']}” was made: {job['source_vd']} → {job['target_vd']} on {job['target_subsystem']}.")

        TargetSteps(
            here,
            stepper,
            "Enter the IP address of an iSCSI port on controller 1 of the target subsystem.",
            chosen,
            "Create",
            source=lambda: source.value,
        )
