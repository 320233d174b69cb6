"""The edit dialog of a job: its name and comment, its RPO goal, its bandwidth limit, and its CHAP at the target."""

from typing import Any

from nicegui import ui

from qreplica.ui.dialogs import Inputs, buttons, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking
from qreplica.units import MIB


async def dialog_for(here: Looking, job: dict[str, Any]) -> None:
    """Open the dialog."""
    limited = await here.rest.get("jobs", job["name"], "bandwidth")
    with dialog(f"Edit {job['name']}") as made:
        form = _Form(job, limited)
        buttons(here, made, "Save", lambda: form.save(here), f"“{job['name']}” was saved.", inputs=form.inputs)


class _Form:
    def __init__(self, job: dict[str, Any], limited: dict[str, Any]) -> None:
        self._job, self._limited = job, limited
        self._name = ui.input("Name of the job", value=job["name"]).props("autofocus autocomplete=off")
        self._comment = ui.input("Comment", value=job["comment"]).props("autocomplete=off")
        self._rpo = ui.number("RPO goal, in minutes", value=job["rpo_minutes"], min=1, precision=0)
        self._rpo.props('clearable hint="A copy older than this is an alert; empty: no goal"')
        self._limit = ui.number("Bandwidth limit, in MiB a second", value=_mib(limited["limit"]), min=0)
        windows = f" Its {len(limited['windows'])} windows of the week stay." if limited["windows"] else ""
        self._limit.props(f'clearable hint="Empty: as fast as it can; it holds within a second.{windows}"')
        with ui.expansion("CHAP of the target's iSCSI node").classes("full-width"):
            ui.label("Only where the node's was changed, and while the job does not run.").classes("step-facts")
            self._user = ui.input("CHAP name", value=job["chap_user"] or "").props("autocomplete=off")
            self._secret = ui.input("New CHAP secret", password=True).props("autocomplete=new-password")
        self.inputs: Inputs = {
            "name": self._name,
            "comment": self._comment,
            "rpo_minutes": self._rpo,
            "limit": self._limit,
            "chap_user": self._user,
            "chap_secret": self._secret,
        }
        for one in self.inputs.values():
            one.classes("full-width")

    async def save(self, here: Looking) -> None:
        """Save what is different; the name at last, by which all of it is asked for."""
        job = ("jobs", self._job["name"])
        rpo = None if self._rpo.value is None else int(self._rpo.value)
        if rpo != self._job["rpo_minutes"]:
            await here.rest.put(*job, "rpo", body={"rpo_minutes": rpo})
        limit = None if self._limit.value is None else int(self._limit.value * MIB)
        if limit != self._limited["limit"]:
            await here.rest.put(*job, "bandwidth", body={"limit": limit, "windows": self._limited["windows"]})
        if changes := self._changes():
            await here.rest.patch(*job, body=changes)
        if "name" in changes:
            ui.navigate.to(link("qreplica", changes["name"]))

    def _changes(self) -> dict[str, Any]:
        given = {"name": self._name.value, "comment": self._comment.value}
        changes: dict[str, Any] = {one: value for one, value in given.items() if value != self._job[one]}
        user = self._user.value or None
        if user != self._job["chap_user"] or self._secret.value:
            changes.update(chap_user=user, chap_secret=self._secret.value or None)
        return changes


def _mib(limit: int | None) -> float | None:
    return None if limit is None else round(limit / MIB, 3)
