"""The QReplica configuration of the white paper: its three settings, and how often the threshold is checked."""

from nicegui import ui

from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.looking import Looking


async def open_for(here: Looking) -> None:
    """Open the dialog."""
    known = await here.rest.get("qreplica", "configuration")
    with dialog("QReplica configuration") as made:
        ratio = ui.number("Snapshot space, in sizes of the source VD", value=known["ratio"], min=0, step=0.5)
        ratio.props('hint="What a source VD without any gets when a job is made"').classes("full-width")
        threshold = ui.number("Snapshot threshold, in percent", value=known["threshold"], min=1, max=99, precision=0)
        threshold.props('hint="Of what is left after the snapshot of a run; used up that far, a job runs at once"')
        threshold.classes("full-width")
        restart = ui.switch("Restart the job an hour later if it failed", value=known["restart_after_failure"])
        ui.label("Its snapshots are cleared then, and everything is copied again.").classes("step-facts")
        check = ui.number("Minutes between checks", value=known["check_minutes"], min=1, precision=0)
        check.classes("full-width")
        quiet = ui.number(
            "Minutes without progress until it is told", value=known["progress_minutes"], min=1, precision=0
        )
        quiet.classes("full-width")
        most = ui.number("Jobs that run at once", value=known["running_jobs"], min=1, max=256, precision=0)
        most.props('hint="The others are queued"').classes("full-width")
        protect = ui.switch("Hosts can only read a source whose copy was promoted", value=known["protect_superseded"])
        buttons(
            here,
            made,
            "Save",
            lambda: here.rest.put(
                "qreplica",
                "configuration",
                body={
                    "ratio": ratio.value,
                    "threshold": int(threshold.value or 0),
                    "restart_after_failure": restart.value,
                    "check_minutes": int(check.value or 0),
                    "progress_minutes": int(quiet.value or 0),
                    "running_jobs": int(most.value or 0),
                    "protect_superseded": protect.value,
                },
            ),
            "The QReplica configuration was saved.",
        )
