"""Makes the target daemons of both controllers let go of a VD's file, so that another one can take its place."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.iscsi.target.driver import NodeSpec, TargetSession
from qreplica.iscsi.target.errors import NodeMissing
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import Lun, Node
from qreplica.storage.service_errors import VdHasHosts


class HoldsFiles(Protocol):
    """What is asked of each controller's target daemon; ``TargetDriver`` says what the calls promise."""

    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return who is logged in to the node."""

    def remove_node(self, iqn: str) -> None:
        """Take the node away."""

    def apply_node(self, spec: NodeSpec) -> None:
        """Serve the node as specified, by the files that are there now."""


class LettingGo:
    """The service; ``controllers`` are those of the subsystem, the rest is as for ``Recovery``."""

    def __init__(
        self,
        database: Database,
        controllers: Sequence[HoldsFiles],
        spec_of: Callable[[Session, Node], NodeSpec],
        locks: NodeLocks,
    ) -> None:
        self._database = database
        self._controllers = controllers
        self._spec_of = spec_of
        self._locks = locks

    @contextmanager
    def __call__(self, vd_id: str) -> Iterator[None]:
        """Let go of the live VD as long as the context lasts. Raises VdHasHosts while anybody could be using it."""
        with ExitStack() as stack:
            # Always in the same order, so that two of these never wait for each other.
            nodes = [spec.iqn for spec in self._specs(vd_id)]
            for iqn in nodes:
                stack.enter_context(self._locks.hold(iqn))
                self._refuse_hosts(vd_id, iqn)
            try:
                for controller in self._controllers:
                    for iqn in nodes:
                        controller.remove_node(iqn)
                yield
            finally:
                # Also where the VD was attached in the meantime, by the file of before.
                for spec in self._specs(vd_id):
                    with self._locks.hold(spec.iqn):
                        for controller in self._controllers:
                            controller.apply_node(spec)

    def _specs(self, vd_id: str) -> list[NodeSpec]:
        """Return the desired states of the nodes that show the live VD, by IQN."""
        with self._database.session(read_only=True) as session:
            showing = select(Lun.node_id).where(Lun.vd_id == vd_id, Lun.snapshot_id.is_(None))
            chosen = select(Node).where(Node.id.in_(showing)).order_by(Node.iqn)
            return [self._spec_of(session, node) for node in session.scalars(chosen)]

    def _refuse_hosts(self, vd_id: str, iqn: str) -> None:
        hosts = {one.initiator for controller in self._controllers for one in _sessions(controller, iqn)}
        if not hosts:
            return
        with self._database.session(read_only=True) as session:
            node = session.scalars(select(Node).where(Node.iqn == iqn)).one()
            (lun, *_) = [lun for lun in node.luns if lun.vd_id == vd_id and lun.snapshot_id is None]
            facts = {"vd": lun.vd.name, "node": node.name, "lun": lun.number}
        raise VdHasHosts(hosts=" and ".join(sorted(hosts)), **facts)


def _sessions(controller: HoldsFiles, iqn: str) -> list[TargetSession]:
    try:
        return controller.sessions(iqn)
    except NodeMissing:
        return []
