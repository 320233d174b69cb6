"""Gives the controller's ports, when it starts, what administrators have set for them.

A port without a setting is as the configuration file says, and its interface is left alone. One that cannot be brought
to its setting stays as it was, which an event tells, and is tried again at the next start.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.daemon import servers
from qreplica.daemon.config import Config, PortConfig
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi import port_settings, ports
from qreplica.iscsi.addressing import Addressing
from qreplica.iscsi.interfaces import Interfaces
from qreplica.state.database import Database
from qreplica.state.models import Port, PortSetting, Severity

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A port with what it uses now, and why that is not what was set, if it is not."""

    configured: PortConfig
    used: Addressing
    trouble: str | None = None


def in_force(config: Config, database: Database, interfaces: Interfaces) -> Config:
    """Bring the interfaces to what was set; return the configuration with the addresses that the ports have now.

    Raises what the database does.
    """
    with database.session(read_only=True) as session:
        chosen = select(PortSetting).where(PortSetting.controller == config.controller)
        settings = {one.number: port_settings.wanted_of(one) for one in session.scalars(chosen)}
        before = {
            one.number: port_settings.present(one)
            for one in session.scalars(select(Port).where(Port.controller == config.controller))
        }
    taken = []
    for port in config.ports:
        own = Addressing(port.address, port.prefix_length)
        wanted = settings.get(port.number)
        if wanted is None:
            taken.append(_Taken(port, own))
        else:
            others = {settings.get(one.number, one).address for one in config.ports if one is not port}
            taken.append(_Taking(config.peer_port, interfaces, port, others).take(wanted, before.get(port.number, own)))
    config = config.model_copy(update={"ports": tuple(_configured(one) for one in taken)})
    with database.session() as session:
        ports.note(session, config.controller, config.ports)
        session.flush()
        _note(session, config.controller, taken, interfaces)
    return config


@dataclass(frozen=True, slots=True)
class _Taking:
    """A port that is brought to its setting; ``others`` are the addresses of the controller's other ports."""

    peer_port: int
    interfaces: Interfaces
    port: PortConfig
    others: set[str]

    def take(self, wanted: Addressing, before: Addressing) -> _Taken:
        """Bring it there, or else back to what it had before."""
        try:
            self._bring(wanted, {before.address, self.port.address})
            servers.check_free(wanted.address, self.peer_port)
        except QReplicaError as error:
            _log.error("port not set", port=self.port.number, reason=error.sentence)
            try:
                self._bring(before, {wanted.address})
            except QReplicaError as second:
                _log.error("port not as before", port=self.port.number, reason=second.sentence)
            return _Taken(self.port, before, error.sentence)
        return _Taken(self.port, wanted)

    def _bring(self, wanted: Addressing, leave: set[str]) -> None:
        self.interfaces.bring(self.port.interface, wanted, leave - {wanted.address} - self.others)


def _configured(taken: _Taken) -> PortConfig:
    used = {"address": taken.used.address, "prefix_length": taken.used.prefix_length}
    return taken.configured.model_copy(update=used)


def _note(session: Session, controller: int, taken: Iterable[_Taken], interfaces: Interfaces) -> None:
    """Write down what the ports use, and what kept one from its setting."""
    for one in taken:
        found = interfaces.look(one.configured.interface)
        row = session.get_one(Port, (controller, one.configured.number))
        row.gateway = one.used.gateway
        row.mtu = None if found is None else found.mtu
        row.largest_mtu = None if found is None else found.largest_mtu
        if one.trouble is not None:
            subject = f"port {row.number}"
            message = f"Port {row.number} of controller {controller} stays at {one.used}: {one.trouble}"
            log.record(session, Severity.ERROR, "port-not-set", subject, message, controller=controller)
