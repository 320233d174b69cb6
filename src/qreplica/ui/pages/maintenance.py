"""Maintenance: one page each for one's account, the users, the certificate, alerts, time zone and restart, the logs."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from qreplica.access.roles import Role
from qreplica.ui.frame import ACCOUNT, empty, page, sections
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import account, audit_log, certificate, event_log, receivers, system, users
from qreplica.ui.rest import Refused


class Part(NamedTuple):
    """A page of the maintenance, for whom it is, and what it shows."""

    label: str
    path: str
    show: Callable[[Looking], Awaitable[None]]
    least: Role = Role.VIEWER


_PARTS: Final = (
    Part("Your account", ACCOUNT, account.show),
    Part("Users", "/maintenance/users", users.show, Role.ADMIN),
    Part("Certificate", "/maintenance/certificate", certificate.show),
    Part("Alerts", "/maintenance/alerts", receivers.show, Role.ADMIN),
    Part("Time zone and restart", "/maintenance/system", system.show),
    Part("Event log", "/maintenance/events", event_log.show),
    Part("Audit log", "/maintenance/audit", audit_log.show, Role.ADMIN),
)


def _make(part: Part) -> None:
    @page(part.path, part.label)
    async def shown(here: Looking) -> None:
        sections("Maintenance", {one.path: one.label for one in _PARTS if here.may(one.least)}, part.path)
        try:
            await part.show(here)
        except Refused as refused:
            empty(refused.sentence)


for _part in _PARTS:
    _make(_part)
