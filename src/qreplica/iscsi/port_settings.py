"""What administrators set for the ports: address, prefix, gateway and MTU.

A controller takes it when it starts (``daemon/port_start.py``): until it was restarted a port is as it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy.orm import Session

from qreplica.cluster import standing
from qreplica.events import log
from qreplica.iscsi import addressing, ports
from qreplica.iscsi.addressing import Addressing, OtherPort
from qreplica.iscsi.qreplica_port import running_jobs
from qreplica.iscsi.service_errors import HostsUsePort, JobsUsePort, NoSuchPort, NothingToSet
from qreplica.state.models import Port, PortSetting, Severity

#: What of a port can be set, as ``Addressing`` calls it.
FIELDS: Final = frozenset({"address", "prefix_length", "gateway", "mtu"})


def put(
    session: Session, port: tuple[int, int], changes: Mapping[str, Any], *, drop_hosts: bool = False, controller: int
) -> None:
    """Set some of ``FIELDS`` of a port, which is a controller and a number; ``controller`` is the one that is asked.

    A gateway of None is none; an MTU of None leaves the interface's alone. Idempotent. Raises NothingToSet,
    NoSuchPort, JobsUsePort, HostsUsePort, and what ``addressing.check`` does; then nothing was changed.
    """
    owner, number = port
    row = session.get(Port, port)
    if row is None:
        raise NoSuchPort(controller=owner, port=number)
    if not changes:
        raise NothingToSet(controller=owner, port=number)
    before = coming(session, row)
    wanted = replace(before, **changes)
    others = [
        OtherPort(one.controller, one.number, present(one), coming(session, one))
        for one in ports.listing(session)
        if one is not row
    ]
    addressing.check(wanted, port, before, others, row.largest_mtu)
    if wanted == before:
        return
    _refuse_running(session, row)
    hosts = _hosts(session, row, controller)
    if hosts and not drop_hosts:
        raise HostsUsePort(controller=owner, port=number, count=len(hosts), hosts=", ".join(hosts))
    setting = session.get(PortSetting, port)
    if setting is None:
        setting = PortSetting(controller=owner, number=number)
        session.add(setting)
    setting.address, setting.prefix_length = wanted.address, wanted.prefix_length
    setting.gateway, setting.mtu = wanted.gateway, wanted.mtu
    dropped = f" {len(hosts)} session(s) of hosts end then: {', '.join(hosts)}." if hosts else ""
    message = f"Port {number} of controller {owner} has {wanted} from the next start of controller {owner} on.{dropped}"
    log.record(session, Severity.INFO, "port-set", f"port {number}", message, controller=controller)


def present(port: Port) -> Addressing:
    """Return what a port uses since its controller started."""
    return Addressing(port.address, port.prefix_length, port.gateway, port.mtu)


def wanted_of(setting: PortSetting) -> Addressing:
    """Return what was set."""
    return Addressing(setting.address, setting.prefix_length, setting.gateway, setting.mtu)


def coming(session: Session, port: Port) -> Addressing:
    """Return what was set for a port, else what it uses, with the interface's own MTU."""
    setting = session.get(PortSetting, (port.controller, port.number))
    return replace(present(port), mtu=None) if setting is None else wanted_of(setting)


def pending(session: Session, port: Port) -> Addressing | None:
    """Return what was set for a port that it does not use yet, None when there is no difference."""
    found, now = coming(session, port), present(port)
    return None if found == replace(now, mtu=now.mtu if found.mtu is not None else None) else found


def _refuse_running(session: Session, port: Port) -> None:
    if port.qreplica and (running := running_jobs(session)):
        raise JobsUsePort(controller=port.controller, port=port.number, jobs=", ".join(running))


def _hosts(session: Session, port: Port, controller: int) -> list[str]:
    """Return who is logged in by the port; what a controller that is no more saw last does not count."""
    alive = {one.number for one in standing.listing(session, controller) if one.alive}
    return list(port.hosts) if port.controller in alive else []
