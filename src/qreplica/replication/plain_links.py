"""The ways to any job's target. A plain target has no peer to ask: what that would know is kept here, by the source."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session as SqlSession

from qreplica.iscsi.initiator import Session
from qreplica.peer import messages
from qreplica.replication import plain_disks, plain_fence
from qreplica.replication.links import DiskSession, NetworkLinks, Peer, Target, Way
from qreplica.replication.plain_disks import Disk, Place
from qreplica.replication.plain_errors import PlainTargetReplaced, PlainTargetTooSmall, UnfencedTakeover
from qreplica.replication.plain_fence import Held, Owner
from qreplica.replication.plain_keys import isid_of
from qreplica.replication.plain_session import PlainSession
from qreplica.replication.recovery_errors import BaseMismatch
from qreplica.replication.store import JobStore, unfinished
from qreplica.state.database import Database
from qreplica.state.models import Job, now
from qreplica.state.plain_models import PlainTarget


def place_of(target: Target, way: Way) -> Place:
    """Return where the job's disk is."""
    return Place(way.address, target.node, target.lun)


def log_in(target: Target, way: Way, timeout: float = 10.0) -> Session:
    """Log in as the job's initiator port, which ends an earlier session of it. Raises what ``Session.connect`` does."""
    return Session.connect(
        way.portal,
        target.node,
        "" if target.plain is None else target.plain.initiator,
        chap=target.chap,
        mutual=target.mutual,
        interface=target.interface,
        isid=isid_of(target.job),
        timeout=timeout,
    )


class JobLinks:
    """Those of one job at a time, for ``controller``: over the network to a backup VD, as PlainPeer to a plain target.

    ``connect`` logs in to a plain target.
    """

    def __init__(self, database: Database, controller: int, connect: Callable[[Target, Way], Session] = log_in) -> None:
        self._database = database
        self._controller = controller
        self._connect = connect
        self._network = NetworkLinks()
        self._plain: PlainPeer | None = None

    def peer(self, target: Target, way: Way) -> Peer:
        """See Links."""
        if target.plain is None:
            return self._network.peer(target, way)
        self._plain = PlainPeer(self._database, self._controller, target, way, self._connect)
        return self._plain

    def session(self, target: Target, way: Way, initiator: str) -> DiskSession:
        """See Links. A plain target's is the session that the claim made, since that one holds the reservation."""
        if target.plain is None or self._plain is None:
            return self._network.session(target, way, initiator)
        return self._plain.hand_over()


@dataclass(slots=True)
class _Claimed:
    session: Session
    owner: Owner


class PlainPeer:
    """Answers for a plain target what ``PeerClient`` asks a subsystem. All that it writes is compared with the epoch.

    A generation that is half written cannot be rolled back: only its own cycle goes on with it, and every other one
    begins with a full copy.
    """

    def __init__(
        self,
        database: Database,
        controller: int,
        target: Target,
        way: Way,
        connect: Callable[[Target, Way], Session],
    ) -> None:
        self._database = database
        self._controller = controller
        self._target = target
        self._way = way
        self._connect = connect
        self._claimed: _Claimed | None = None
        self._fenced = False

    def nodes(self) -> messages.NodeList:
        """There is nobody to ask: a plain target has one path, whose login tells who is there."""
        raise NotImplementedError

    def backup_vds(self, iqn: str) -> messages.BackupVdList:
        """There are none."""
        raise NotImplementedError

    def compare(self, iqn: str, compare: messages.Compare) -> messages.Digests:
        """There is nobody who could read the disk there."""
        raise NotImplementedError

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:  # noqa: ARG002 - the peer's signature
        """Take the disk under the claim's epoch, cut off whoever had it before, and return what it holds.

        Raises PlainTargetReplaced, PlainTargetTooSmall, FenceLost, UnfencedTakeover, StaleOwner, and what
        ``plain_fence.take`` and ``Session`` do.
        """
        store = self._store(claim.epoch)
        with store.owned() as (session, _):
            row = session.get_one(PlainTarget, claim.job)
            self._refuse_takeover(row)
            held = None if row.held_epoch is None else Held(row.held_epoch, row.pr_generation or 0)
            fenced, anew = row.fenced, row.accepted
            before, row.writer = row.writer, None if fenced else self._controller
        try:
            link = self._connect(self._target, self._way)
        except BaseException:
            self._note_end(in_order=before is None)
            raise
        try:
            owner = self._owner(claim.epoch)
            disk = self._look(link, claim.source_size)
            if fenced and not disk.fenced:
                self._refuse_unfenced(owner)
            if fenced:
                held = plain_fence.take(link, owner, held, anew=anew, through_power_loss=disk.through_power_loss)
            else:
                plain_fence.drain(link, owner)
            # Whoever was overtaken before it logged in learns it here, before its first write.
            with store.owned() as (session, job):
                row = session.get_one(PlainTarget, claim.job)
                if held is not None:
                    row.held_epoch, row.pr_generation = held.epoch, held.generation
                lineage = self._lineage(session, job, row, disk.size)
        except BaseException:
            # Nothing was written in this session.
            link.logout()
            self._note_end(in_order=before is None)
            raise
        self._claimed, self._fenced = _Claimed(link, owner), fenced
        return lineage

    def begin(self, iqn: str, begin: messages.Begin) -> messages.Begun:  # noqa: ARG002 - the peer's signature
        """Note that the disk is between two generations from now on. Raises BaseMismatch, StaleOwner."""
        with self._store(begin.epoch).owned() as (session, job):
            row = session.get_one(PlainTarget, begin.job)
            entry = messages.InProgress(
                generation=begin.generation,
                base_generation=begin.base_generation,
                source_snapshot=begin.source_snapshot,
                size=begin.size,
                manifest=begin.manifest,
            ).model_dump(mode="json")
            resumed = row.begun == entry
            if begin.base_generation is None:
                row.point, row.accepted = None, False
            elif not _stands_on(row, begin):
                newest = "none that is whole" if row.point is None else f"generation {row.point['generation']}"
                raise BaseMismatch(offered=f"generation {begin.base_generation}", vd=row.disk, newest=newest)
            row.begun = entry
            return messages.Begun(resumed=resumed, size=job.target_size)

    def commit(self, iqn: str, commit: messages.Commit) -> messages.Committed:  # noqa: ARG002 - the peer's signature
        """Note that the disk holds the generation whole. Raises StaleOwner."""
        with self._store(commit.epoch).owned() as (session, _):
            row = session.get_one(PlainTarget, commit.job)
            if row.begun is not None:
                begun = messages.InProgress.model_validate(row.begun)
                point = messages.Point(
                    generation=begun.generation,
                    source_snapshot=begun.source_snapshot,
                    size=begun.size,
                    manifest=begun.manifest,
                    committed_at=now(),
                )
                row.point, row.begun = point.model_dump(mode="json"), None
            return messages.Committed(point=messages.Point.model_validate(row.point))

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:  # noqa: ARG002 - the peer's signature
        """Return what the disk holds, as it is known here."""
        with self._database.session(read_only=True) as session:
            job = session.get_one(Job, self._target.job)
            return self._lineage(session, job, session.get_one(PlainTarget, job.id), job.target_size)

    def release(self, iqn: str, release: messages.Release) -> None:  # noqa: ARG002 - the peer's signature
        """Let go of the disk, which anybody may write then; what it holds stays.

        Raises PlainTargetReplaced, StaleOwner, and what ``plain_fence.let_go`` and ``Session`` do.
        """
        with self._database.session(read_only=True) as session:
            fenced = session.get_one(PlainTarget, release.job).fenced
        if fenced:
            with self._connect(self._target, self._way) as link:
                self._look(link, 0)
                plain_fence.let_go(link, self._owner(release.epoch))

    def hand_over(self) -> PlainSession:
        """Return the session that the claim made, to be ended by whoever has it from now on."""
        if self._claimed is None:
            raise ValueError("nothing is claimed, or its session was handed over already")
        claimed, self._claimed = self._claimed, None
        return PlainSession(claimed.session, claimed.owner, self._note_end, fenced=self._fenced)

    def close(self) -> None:
        """Log out, if nobody has taken the session over."""
        if self._claimed is not None:
            claimed, self._claimed = self._claimed, None
            claimed.session.logout()
            self._note_end(in_order=True)

    def _note_end(self, in_order: bool) -> None:  # noqa: FBT001 - a callback
        if in_order and not self._fenced:
            with self._database.session() as session:
                row = session.get(PlainTarget, self._target.job)
                if row is not None and row.writer == self._controller:
                    row.writer = None

    def _store(self, epoch: int) -> JobStore:
        return JobStore(self._database, self._target.job, epoch, self._controller)

    def _owner(self, epoch: int) -> Owner:
        target = self._target
        return Owner(target.job, target.job_name, epoch, target.serial, target.node, target.lun)

    def _refuse_takeover(self, row: PlainTarget) -> None:
        if row.writer not in {None, self._controller}:
            raise UnfencedTakeover(
                writer=row.writer, disk=row.disk, controller=self._controller, job=self._target.job_name
            )

    @staticmethod
    def _refuse_unfenced(owner: Owner) -> None:
        raise plain_fence.lost(owner, "its target offers no persistent reservations any more")

    def _look(self, link: Session, needed: int) -> Disk:
        """Return what the disk says of itself. Raises PlainTargetReplaced, PlainTargetTooSmall, what ``look`` does."""
        target = self._target
        disk = plain_disks.look(link, place_of(target, self._way))
        if disk.identity != target.serial:
            raise PlainTargetReplaced(
                lun=target.lun, node=target.node, found=disk.identity, job=target.job_name, expected=target.serial
            )
        if disk.size < needed:
            raise PlainTargetTooSmall(
                disk=disk.identity, lun=target.lun, node=target.node, found=disk.size, needed=needed
            )
        return disk

    def _lineage(self, session: SqlSession, job: Job, row: PlainTarget, size: int) -> messages.Lineage:
        point = None if row.point is None or row.accepted else messages.Point.model_validate(row.point)
        begun = None if row.begun is None or row.accepted else messages.InProgress.model_validate(row.begun)
        if begun is not None:
            cycle = unfinished(session, job.id)
            goes_on = cycle is not None and cycle.id == begun.source_snapshot
            if not goes_on or begun.base_generation is None:
                point = None
            if not goes_on:
                begun = None
        return messages.Lineage(
            vd=job.target_vd,
            vd_name=row.disk,
            lun=job.target_lun,
            size=size,
            serial=row.disk,
            epoch=job.epoch,
            initiator="",
            points=[] if point is None else [point],
            in_progress=begun,
        )


def _stands_on(row: PlainTarget, begin: messages.Begin) -> bool:
    """Tell whether the disk holds the delta's base, or that with a part of the very same delta."""
    if row.accepted or row.point is None or row.point["source_snapshot"] != begin.base_snapshot:
        return False
    return row.begun is None or row.begun["source_snapshot"] == begin.source_snapshot
