"""Writes down which hosts are logged in by each port of this controller, for those who ask the other one too."""

from collections import defaultdict

from sqlalchemy import select

from qreplica.daemon.background import Regular
from qreplica.iscsi.target.driver import TargetConnection, TargetDriver
from qreplica.state.database import Database
from qreplica.state.models import Port

_EVERY = 1.0


class PortWatcher(Regular):
    """The thread that does so."""

    def __init__(self, database: Database, controller: int, target: TargetDriver, iscsi_port: int) -> None:
        super().__init__("ports", _EVERY, "ports not looked at")
        self._database = database
        self._controller = controller
        self._target = target
        self._iscsi_port = iscsi_port
        self._seen: frozenset[TargetConnection] | None = None

    def round(self) -> None:
        """Look once. Raises what driver and database do."""
        before, self._seen = self._seen, None  # until all of it has gone well
        connections = self._target.connections()
        if (seen := frozenset(connections)) == before:
            self._seen = before
            return
        names = self._names() if connections else {}
        hosts = defaultdict[str, list[str]](list)
        for one in connections:
            if one.portal.port == self._iscsi_port:
                known = ", ".join(sorted(names.get(one.address, ()))) or "not logged in yet"
                hosts[one.portal.address].append(f"{known} ({one.address})")
        with self._database.session() as session:
            for port in session.scalars(select(Port).where(Port.controller == self._controller)):
                port.hosts = sorted(hosts[port.address])
        # One that had not logged in yet is looked at again.
        self._seen = seen if all(one.address in names for one in connections) else None

    def _names(self) -> dict[str, set[str]]:
        """Return the initiators' names by address; one address may have several."""
        names = defaultdict[str, set[str]](set)
        for iqn in self._target.nodes():
            for session in self._target.sessions(iqn):
                for address in session.addresses:
                    names[address].add(session.initiator)
        return names
