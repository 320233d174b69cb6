"""Makes the target daemons of both controllers let go of a VD's file, so that another one can take its place.

The VD is held back meanwhile (``storage.holding_back``): whoever configures a target daemon, one that was started anew
too, leaves it out. Hosts that are logged in to a node that shows it are not cut off; they are a reason to refuse.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.daemon.file_lock import holding
from qreplica.errors import QReplicaError
from qreplica.iscsi.target.driver import NodeSpec, TargetSession
from qreplica.iscsi.target.errors import NodeMissing
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import Lun, Node, VirtualDisk
from qreplica.storage import holding_back, rolling_back
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import RollBackRunning, VdHasHosts

_PATIENCE = 30.0


class HasSessions(Protocol):
    """A controller's target daemon."""

    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return who is logged in to the node. Raises NodeMissing."""


class OwnTarget(HasSessions, Protocol):
    """This controller's; ``TargetDriver`` says what the calls promise."""

    def apply_node(self, spec: NodeSpec) -> None:
        """Serve the node as specified, by the files that are there now."""


class OtherTarget(HasSessions, Protocol):
    """The other controller's, which its own daemon configures."""

    def let_go(self, file: Path) -> None:
        """Return when it does not have the file open, nor will open it for a VD that is held back."""


class LettingGo:
    """The service. ``targets``: this controller's and the others'. ``lock`` is a file that all controllers share.

    The rest is as for ``Recovery``.
    """

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        targets: tuple[OwnTarget, Sequence[OtherTarget]],
        spec_of: Callable[[Session, Node], NodeSpec],
        locks: NodeLocks,
        *,
        lock: Path,
    ) -> None:
        self._database = database
        self._storage = storage
        self._own, self._others = targets
        self._spec_of = spec_of
        self._locks = locks
        self._lock = lock

    @contextmanager
    def __call__(self, vd_id: str) -> Iterator[list[QReplicaError]]:
        """Let go of the live VD as long as the context lasts; its end adds to the list what is not served again.

        The other controller serves it again some seconds later. Raises VdHasHosts while anybody could be using it, and
        RollBackRunning while another VD is let go of.
        """
        with self._database.session(read_only=True) as session:
            vd = session.get_one(VirtualDisk, vd_id)
        with holding(self._lock, _PATIENCE) as alone:
            if not alone:
                raise RollBackRunning(vd=vd.name, seconds=_PATIENCE)
            not_served: list[QReplicaError] = []
            self._refuse_hosts(vd)
            try:
                holding_back.hold_back(self._database, vd_id)
                for iqn, _, _ in self._nodes(vd_id):
                    self._serve(iqn)
                for other in self._others:
                    other.let_go(self._storage.vd_path(vd.raid_group_id, vd_id))
                # Who logged in meanwhile may have met the VD before it went.
                self._refuse_hosts(vd)
                yield not_served
            finally:
                not_served += self._serve_again(vd_id)

    def finish_interrupted(self) -> list[tuple[str, QReplicaError]]:
        """Finish what no longer has anybody at work on it, after a crash; return which VDs stay held back, and why."""
        with self._database.session(read_only=True) as session:
            if not holding_back.held_back(session):
                return []
        with holding(self._lock, 0) as alone:
            return [failure for held in self._held_back() for failure in self._finish(*held)] if alone else []

    def _finish(self, vd_id: str, name: str) -> list[tuple[str, QReplicaError]]:
        try:
            rolling_back.finish(self._database, self._storage, vd_id)
        except QReplicaError as error:
            return [(f"vd {name}", error)]
        return []

    def _held_back(self) -> list[tuple[str, str]]:
        with self._database.session(read_only=True) as session:
            return [(held.vd_id, held.vd.name) for held in holding_back.held_back(session)]

    def _serve_again(self, vd_id: str) -> list[QReplicaError]:
        """Let the VD be served, and serve it; return what failed, which the next reconciliation tries again."""
        try:
            holding_back.serve_again(self._database, vd_id)
            shown = self._nodes(vd_id)
        except QReplicaError as error:
            return [error]
        failures = []
        for iqn, _, _ in shown:
            try:
                self._serve(iqn)
            except QReplicaError as error:
                failures.append(error)
        return failures

    def _serve(self, iqn: str) -> None:
        with self._locks.hold(iqn):
            with self._database.session(read_only=True) as session:
                node = session.scalar(select(Node).where(Node.iqn == iqn))
                spec = None if node is None else self._spec_of(session, node)
            if spec is not None:
                self._own.apply_node(spec)

    def _nodes(self, vd_id: str) -> list[tuple[str, str, int]]:
        """Return IQN, name and LUN of the nodes that show the live VD."""
        with self._database.session(read_only=True) as session:
            chosen = select(Node.iqn, Node.name, Lun.number).join(Lun, Lun.node_id == Node.id)
            chosen = chosen.where(Lun.vd_id == vd_id, Lun.snapshot_id.is_(None)).order_by(Node.iqn, Lun.number)
            return [(iqn, name, number) for iqn, name, number in session.execute(chosen)]

    def _refuse_hosts(self, vd: VirtualDisk) -> None:
        for iqn, name, number in self._nodes(vd.id):
            hosts = {one.initiator for target in (self._own, *self._others) for one in _sessions(target, iqn)}
            if hosts:
                raise VdHasHosts(vd=vd.name, hosts=" and ".join(sorted(hosts)), node=name, lun=number)


def _sessions(target: HasSessions, iqn: str) -> list[TargetSession]:
    try:
        return target.sessions(iqn)
    except NodeMissing:
        return []
