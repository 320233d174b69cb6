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

    def take_up(self, file: Path) -> None:
        """Return when it serves the file, which no VD held back is behind; at once where it does not run."""


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

        Raises VdHasHosts while anybody could be using it, and RollBackRunning while another VD is let go of.
        """
        with self._database.session(read_only=True) as session:
            vd = session.get_one(VirtualDisk, vd_id)
        with holding(self._lock, _PATIENCE) as alone:
            if not alone:
                raise RollBackRunning(vd=vd.name, seconds=_PATIENCE)
            self._refuse_hosts(vd)
            not_served: list[QReplicaError] = []
            try:
                holding_back.hold_back(self._database, vd_id)
                self._let_go(vd)
                yield not_served
            finally:
                not_served += self._serve_again(vd)

    def _let_go(self, vd: VirtualDisk) -> None:
        for iqn, _, _ in self._nodes(vd.id):
            self._serve(iqn)
        for other in self._others:
            other.let_go(self._storage.vd_path(vd.raid_group_id, vd.id))
        # Who logged in meanwhile may have met the VD before it went.
        self._refuse_hosts(vd)

    def _serve_again(self, vd: VirtualDisk) -> list[QReplicaError]:
        """Let the VD be served, and have it served; return what failed, which reconciliation tries again."""
        failures: list[QReplicaError] = []
        with _collecting(failures):
            if holding_back.serve_again(self._database, vd.id) and (shown := self._nodes(vd.id)):
                for iqn, _, _ in shown:
                    with _collecting(failures):
                        self._serve(iqn)
                file = self._storage.vd_path(vd.raid_group_id, vd.id)
                for other in self._others:
                    with _collecting(failures):
                        other.take_up(file)
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


class FinishingRollBacks:
    """A step of an RG's maintenance: a roll-back that nobody is at work on, after a crash, is finished.

    ``lock`` as for ``LettingGo``; ``finished`` is called when VDs may be served again.
    """

    def __init__(self, lock: Path, finished: Callable[[], None]) -> None:
        self._lock = lock
        self._finished = finished

    def __call__(self, db: Database, driver: StorageDriver, group_id: str) -> None:
        """Do it for the RG's VDs. Raises the first failure after all were tried; those VDs stay held back."""
        if not holding_back.held_back(db, group_id):
            return
        failures: list[QReplicaError] = []
        with holding(self._lock, 0) as alone:
            for vd_id in holding_back.held_back(db, group_id) if alone else ():
                with _collecting(failures):
                    rolling_back.finish(db, driver, vd_id)
                    self._finished()
        if failures:
            raise failures[0]


def _sessions(target: HasSessions, iqn: str) -> list[TargetSession]:
    try:
        return target.sessions(iqn)
    except NodeMissing:
        return []


@contextmanager
def _collecting(failures: list[QReplicaError]) -> Iterator[None]:
    try:
        yield
    except QReplicaError as error:
        failures.append(error)
