"""The target's side of replication: claim, begin, compare, commit, abort, lineage, release (see ``peer.messages``).

What is decided is persisted before it is done, and done before it is answered, so that a crash at any point leaves
less admitted than was decided, never more, and a repeated request ends where the first one would have.
"""

from typing import Protocol

from sqlalchemy.orm import Session

from qreplica.errors import NoSpace
from qreplica.peer import messages
from qreplica.peer.pairing import pair
from qreplica.replication import point_comparison
from qreplica.replication import recovery_claims as claims
from qreplica.replication import recovery_comparison as comparison
from qreplica.replication import recovery_progress as progress
from qreplica.replication.recovery_errors import NotClaimed, StaleEpoch
from qreplica.replication.recovery_points import Points, as_message, newest
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.models import Claim, Node, Snapshot, VirtualDisk
from qreplica.storage import extending
from qreplica.storage.driver import SnapshotInfo, StorageDriver


class Recovery:
    """The service. ``serving`` is how the subsystem's target daemons serve the nodes."""

    def __init__(self, database: Database, storage: StorageDriver, serving: Serving) -> None:
        self._database = database
        self._storage = storage
        self._serving = serving
        self._points = Points(database, storage)

    def claim(self, iqn: str, message: messages.Claim, *, pairing_secret: str | None = None) -> messages.Lineage:
        """Make ``message.job`` the owner; on return every older one is cut off on every controller.

        ``pairing_secret`` is what an unsigned claim agreed on; it becomes the node's. The decision stands also when
        FencingFailed is raised: then nobody may write, until a claim with a still higher epoch succeeds. Raises what
        ``recovery_claims.claimable`` raises, PairingNeeded, PeerBusy.
        """
        with self._serving.alone(iqn):
            with self._database.session() as session:
                node = claims.node_by_iqn(session, iqn)
                vd = claims.claimable(session, node, message)
                if pairing_secret is not None:
                    pair(session, node, pairing_secret)
                claims.take(session, node, vd, message)
                spec = self._serving.spec_of(session, node)
                vd_name = vd.name
            self._serving.fence(iqn, spec, vd_name)
            with self._database.session(read_only=True) as session:
                node, row, vd = _owned(session, iqn, message)
                return progress.lineage_of(session, node, vd, row)

    def begin(self, iqn: str, message: messages.Begin) -> messages.Begun:
        """Let the owner write a generation, after bringing the live VD to its base, and to the size needed. Idempotent.

        Raises StaleEpoch, NotClaimed, NotServed, VdDetached, GenerationInvalid, BaseMismatch, BackupVdCannotFollow.
        """
        with self._serving.alone(iqn):
            with self._database.session(read_only=True) as session:
                node, _, vd = _owned(session, iqn, message)
                claims.attachment(session, node, vd)
                spec = self._serving.spec_of(session, node)
            self._serving.check_served(spec)
            with self._database.session() as session:
                _, row, vd = _owned(session, iqn, message)
                if progress.begun_already(row, message):
                    return messages.Begun(resumed=True, size=vd.size)
                progress.check_base(session, vd, message)
                progress.make_room(session, vd, message.size)
                # Before a full copy too: nobody's earlier roll-back is under way after it.
                point = newest(session, vd.id, message.job) if row.generation is not None else None
                if row.generation is not None:
                    claims.change(session, row, vd, manifest=None)
                vd_id, initiator = vd.id, row.initiator
            if point is not None:
                self._serving.roll_back(iqn, point, initiator)
            elif extending.follow(self._database, self._storage, vd_id):
                self._serving.apply(iqn)
            self._points.tidy(vd_id, message.job, message.epoch)
            with self._database.session() as session:
                _, row, vd = _owned(session, iqn, message)
                claims.change(session, row, vd, **progress.progress(message))
                return messages.Begun(resumed=False, size=vd.size)

    def compare(self, iqn: str, message: messages.Compare) -> messages.Digests:
        """Tell the owner what the live VD holds of the generation in progress (``recovery_comparison``)."""
        return comparison.compare(self._database, self._storage, iqn, message)

    def compare_point(self, iqn: str, message: messages.ComparePoint) -> messages.PointDigests:
        """Tell the job that holds the VD what one of its points holds (``point_comparison``)."""
        return point_comparison.compare(self._database, self._storage, iqn, message)

    def commit(self, iqn: str, message: messages.Commit) -> messages.Committed:
        """Make the generation in progress a recovery point. Idempotent. The owner must have nothing outstanding.

        Raises StaleEpoch, NotClaimed, NotBegun, ManifestMismatch.
        """
        with self._serving.alone(iqn):
            with self._database.session() as session:
                _, row, vd = _owned(session, iqn, message)
                done = progress.committed_already(session, vd, message)
                if done is not None:
                    return messages.Committed(point=as_message(done))
                progress.check_begun(row, vd, message)
                group, vd_id = vd.raid_group_id, vd.id
                snapshot_id = progress.begin_snapshot(session, row, vd)
            self._storage.flush(group, vd_id)
            info = self._freeze(group, vd_id, snapshot_id, message.job)
            try:
                with self._database.session() as session:
                    _, row, vd = _owned(session, iqn, message)
                    progress.check_begun(row, vd, message)
                    session.get_one(Snapshot, snapshot_id).taken_at = info.taken_at
                    point = progress.point_of(row, snapshot_id)
                    session.add(point)
                    claims.change(session, row, vd, **progress.CLEAN)
                    answer = messages.Committed(point=as_message(point))
            except (StaleEpoch, NotClaimed):
                self._points.drop_forgotten(group, vd_id, snapshot_id)
                raise
            self._points.tidy(vd_id, message.job, message.epoch)
            return answer

    def abort(self, iqn: str, message: messages.Abort) -> messages.Lineage:
        """Give up what is in progress and roll the live VD back. Idempotent. Raises StaleEpoch, NotClaimed."""
        with self._serving.alone(iqn):
            with self._database.session() as session:
                node, row, vd = _owned(session, iqn, message)
                if row.generation is not None:
                    claims.change(session, row, vd, manifest=None)
            self._clean(iqn, row.vd_id, message.job, row.initiator)
            with self._database.session(read_only=True) as session:
                node, row, vd = _owned(session, iqn, message)
                return progress.lineage_of(session, node, vd, row)

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:
        """Return what the VD under the LUN number holds, and who holds it. Raises NoSuchNode, LunEmpty."""
        with self._database.session(read_only=True) as session:
            node = claims.node_by_iqn(session, iqn)
            vd = claims.lun_of(session, node, lun).vd
            return progress.lineage_of(session, node, vd, claims.holder_of_vd(session, vd.id))

    def release(self, iqn: str, message: messages.Release) -> None:
        """Give the VD back, its recovery points kept; nobody is admitted then.

        Succeeds when the job no longer holds it. Raises StaleEpoch, FencingFailed (the decision stands all the same).
        """
        with self._serving.alone(iqn):
            self._let_go(iqn, message)

    def release_by_force(self, iqn: str) -> None:
        """Take the node's backup VD from the job that holds it, on the administrator's word. Idempotent.

        For a job whose subsystem is gone: what it had in progress is lost, its recovery points stay. Raises NoSuchNode,
        FencingFailed.
        """
        with self._serving.alone(iqn):
            self._let_go(iqn)

    def _let_go(self, iqn: str, owner: messages.Release | None = None) -> None:
        """Take the node's backup VD from ``owner``, or from whoever holds it."""
        with self._database.session() as session:
            node = claims.node_by_iqn(session, iqn)
            row = claims.holder_of_node(session, node.id)
            if row is None or (owner is not None and row.job_id != owner.job):
                return
            if owner is not None:
                claims.owned(session, node, owner.job, owner.epoch)
            job, vd = row.job_id, session.get_one(VirtualDisk, row.vd_id)
            claims.let_go(session, row, node, vd)
            spec, initiator = self._serving.spec_of(session, node), row.initiator
        self._serving.fence(iqn, spec, vd.name)
        self._clean(iqn, vd.id, job, initiator)

    def _clean(self, iqn: str, vd_id: str, job: str, initiator: str) -> None:
        """Bring a live VD that is not clean back to the newest point, if the claim has that initiator still."""
        with self._database.session(read_only=True) as session:
            if session.get_one(Claim, vd_id).generation is None:
                return
            point = newest(session, vd_id, job)
        if point is not None:
            self._serving.roll_back(iqn, point, initiator)
        with self._database.session() as session:
            row, vd = session.get_one(Claim, vd_id), session.get_one(VirtualDisk, vd_id)
            if row.initiator == initiator:
                claims.change(session, row, vd, **progress.CLEAN)

    def _freeze(self, group: str, vd_id: str, snapshot_id: str, job: str) -> SnapshotInfo:
        """Take the snapshot, letting old points go when there is no space for it.

        Nothing need be paused: the one initiator that the node admits has flushed and waits for the answer.
        """
        while True:
            try:
                return self._storage.take_snapshot(group, vd_id, snapshot_id)
            except NoSpace:
                if not self._points.drop_oldest(vd_id, job):
                    raise


class _FromOwner(Protocol):
    @property
    def job(self) -> str: ...

    @property
    def epoch(self) -> int: ...


def _owned(session: Session, iqn: str, message: _FromOwner) -> tuple[Node, Claim, VirtualDisk]:
    node = claims.node_by_iqn(session, iqn)
    return (node, *claims.owned(session, node, message.job, message.epoch))
