"""How the target daemons of both controllers serve a backup VD's node: whoever is cut off, and what is rolled back.

What is decided is persisted before it is asked for here (``recovery``, ``promotion``).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.replication import recovery_claims as claims
from qreplica.replication.recovery_errors import FencingFailed, NotServed
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import Node, RecoveryPoint, VirtualDisk
from qreplica.storage import extending
from qreplica.storage.driver import StorageDriver

#: How long the old owner's commands may take to end before a claim is refused (seconds).
FENCE_SECONDS = 60.0


class TargetController(Protocol):
    """What is asked of each controller's target daemon; ``TargetDriver`` says what the calls promise.

    One that stands for the other controller holds that controller's NodeLocks around each call.
    """

    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """Cut off every session, then serve the node as specified."""

    def remove_node(self, iqn: str) -> None:
        """Take the node away; on return no command of it runs."""

    def apply_node(self, spec: NodeSpec) -> None:
        """Serve the node as specified."""

    def nodes(self) -> dict[str, int]:
        """Return the tid of each node served, by IQN."""


class Serving:
    """All of a subsystem's target daemons. ``controllers`` by number: every one must confirm what cuts owners off.

    ``spec_of`` gives a node's desired state from the database; ``locks`` are shared with whoever else brings the
    target daemons to it.
    """

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        controllers: Mapping[int, TargetController],
        spec_of: Callable[[Session, Node], NodeSpec],
        locks: NodeLocks,
    ) -> None:
        self._database = database
        self._storage = storage
        self._controllers = controllers
        self._locks = locks
        self.spec_of = spec_of

    def alone(self, iqn: str) -> AbstractContextManager[None]:
        """Keep everybody else from changing how the node is served; the thread that does so may do it again."""
        return self._locks.hold(iqn)

    def fence(self, iqn: str, spec: NodeSpec, vd_name: str) -> None:
        """Cut everybody off whom ``spec`` does not admit. Raises FencingFailed."""
        for number, controller in self._controllers.items():
            try:
                controller.fence_node(spec, FENCE_SECONDS)
            except QReplicaError as error:
                raise FencingFailed(vd=vd_name, controller=number, reason=error.sentence) from error
        if self.present(iqn) != spec:
            # It took so long that somebody else has been admitted meanwhile, and by this no longer is.
            self.apply(iqn)

    def serve_anew(self, iqn: str, vd_name: str) -> None:
        """Have the node served as the database says now, after everybody was cut off. Raises FencingFailed."""
        with self.alone(iqn):
            with self._database.session() as session:
                node = claims.node_by_iqn(session, iqn)
                claims.renumber(session, node)  # each fence needs that anew
                session.flush()
                spec = self.spec_of(session, node)
            self.fence(iqn, spec, vd_name)

    def check_served(self, spec: NodeSpec) -> None:
        """Raise NotServed unless every target daemon serves the node under its present tid."""
        for controller in self._controllers.values():
            if controller.nodes().get(spec.iqn) != spec.tid:
                raise NotServed(node=spec.iqn)

    def roll_back(self, iqn: str, point: RecoveryPoint, initiator: str) -> None:
        """Roll the live VD, which is unknown, back while no target daemon holds its file; sessions on the node end.

        Raises PeerBusy once it is another's to roll back than the initiator's: whoever hung before this must not undo
        what was written since.
        """

        def confirm() -> VirtualDisk:
            with self._database.session(read_only=True) as session:
                return claims.to_roll_back(session, point.vd_id, initiator)

        group = confirm().raid_group_id
        try:
            for controller in self._controllers.values():
                controller.remove_node(iqn)
            self._storage.roll_back(group, point.vd_id, point.snapshot_id, confirm)
            # The point may be from before the VD grew.
            extending.follow(self._database, self._storage, point.vd_id)
        finally:
            self.apply(iqn)

    def apply(self, iqn: str) -> None:
        """Have the node served as the database says, also where that changes meanwhile."""
        spec: NodeSpec | None = None
        while spec != (spec := self.present(iqn)):
            for controller in self._controllers.values():
                controller.apply_node(spec)

    def present(self, iqn: str) -> NodeSpec:
        """Return what the database says. Raises NoSuchNode."""
        with self._database.session(read_only=True) as session:
            return self.spec_of(session, claims.node_by_iqn(session, iqn))
