"""The steps in which a target is found: its address, its iSCSI node with CHAP, its backup VD."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import ui

from qreplica.replication.offers import PEER_PORT
from qreplica.ui import wording
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Refused

#: What IANA registered for iSCSI, and what targets listen on for their peers.
PORTAL_PORT: Final = 3260
Chosen = Callable[[dict[str, Any], dict[str, Any]], Awaitable[Any]]


class TargetSteps:
    """Three steps of a wizard; ``chosen`` is given the target's part of the request and the backup VD, at its end.

    ``source`` tells the source VD of a job to be made; ``job`` is the one that a further path is added to.
    """

    def __init__(
        self,
        here: Looking,
        stepper: ui.stepper,
        ask_address: str,
        chosen: Chosen,
        last: str,
        *,
        source: Callable[[], str | None] = lambda: None,
        job: str | None = None,
    ) -> None:
        self._here = here
        self._source = source
        self._job = job
        self._stepper = stepper
        self._chosen = chosen
        self._body: dict[str, Any] = {}
        self._vds: dict[int, dict[str, Any]] = {}
        with ui.step("Target address"):
            ui.label(ask_address)
            self._address = ui.input("IP address of the iSCSI port").props("autofocus").classes("full-width")
            with ui.expansion("TCP ports, if they are not the usual ones"):
                self._port = ui.number("TCP port of the iSCSI portal", value=PORTAL_PORT, precision=0)
                self._peer_port = ui.number("TCP port of the peer conversation", value=PEER_PORT, precision=0)
            self._navigation(self._discover)
        with ui.step("iSCSI node"):
            ui.label("Log on to the node that shows the backup VD. Enter the CHAP information if the node asks for it.")
            self._refused_nodes = ui.column()
            self._node = ui.select([], label="iSCSI node").classes("full-width")
            self._user = ui.input("CHAP name").props("autocomplete=off")
            self._secret = ui.input("CHAP secret", password=True).props("autocomplete=new-password")
            self._navigation(self._log_on)
        with ui.step("Backup virtual disk"):
            ui.label(
                "Choose the virtual disk that receives the copy. What it holds now is overwritten."
                if job is None
                else "Choose the same backup virtual disk: the job goes on with it by either path."
            )
            self._vd = ui.radio({})
            self._refused = ui.column()
            self._navigation(self._finish, last)

    def _navigation(self, go_on: Callable[[], Awaitable[None]], label: str = "Next") -> None:
        wrong = ui.label().classes("text-negative").props("role=alert")

        async def attempt() -> None:
            wrong.text = ""
            button.disable()
            try:
                await go_on()
            except Refused as refused:
                wrong.text = refused.sentence
            finally:
                button.enable()

        with ui.stepper_navigation():
            button = ui.button(label, on_click=attempt)
            ui.button("Back", on_click=self._stepper.previous).props("flat")

    async def _discover(self) -> None:
        self._body = {"address": (self._address.value or "").strip(), "peer_port": int(self._peer_port.value or 0)}
        found = await self._here.rest.post("jobs", "discover", body={**self._body, "job": self._job})
        told = {one["iqn"]: f"{one['iqn']}{' (CHAP)' if one['chap'] else ''}" for one in found["nodes"]}
        fit = {one["iqn"]: told[one["iqn"]] for one in found["nodes"] if one["qualifies"]}
        self._node.set_options(fit, value=next(iter(fit), None))
        _tell_refused(self._refused_nodes, [(told[one["iqn"]], one) for one in found["nodes"]])
        self._stepper.next()

    async def _log_on(self) -> None:
        chap = {"chap_user": self._user.value, "chap_secret": self._secret.value} if self._user.value else {}
        where = {one: self._body[one] for one in ("address", "peer_port")}
        self._body = {**where, "node": self._node.value or "", **chap}
        about = {"source_vd": self._source(), "job": self._job}
        found = await self._here.rest.post("jobs", "backup-vds", body={**self._body, **about})
        self._vds = {one["lun"]: one for one in found["vds"]}
        fit = {lun: _told(one) for lun, one in self._vds.items() if one["qualifies"]}
        self._vd.set_options(fit, value=next(iter(fit), None))
        _tell_refused(self._refused, [(_told(one), one) for one in found["vds"]])
        self._stepper.next()

    async def _finish(self) -> None:
        if self._vd.value in self._vds:
            body = {**self._body, "port": int(self._port.value or 0)}
            await self._chosen(body, self._vds[self._vd.value])


def _tell_refused(where: ui.column, told: list[tuple[str, dict[str, Any]]]) -> None:
    """Say why what does not qualify does not."""
    where.clear()
    with where:
        for name, one in told:
            if not one["qualifies"]:
                ui.label(f"{name}: {one['reason']}").classes("step-facts")
        if not any(one["qualifies"] for _, one in told):
            ui.label("Nothing here can be chosen.")


def _told(vd: dict[str, Any]) -> str:
    since = "" if vd["continues"] is None else f", goes on from generation {vd['continues']} with the changes alone"
    return f"LUN {vd['lun']}: {vd['name']} ({wording.size(vd['size'])}){since}"
