"""Makes of the source VD of a superseded job the backup VD of the copy that was promoted: half of the way back.

The newest generation that both sides hold is found by asking the other side. What hosts wrote here since is kept as a
snapshot; then the VD goes back to that generation, which becomes its recovery point, and the job is no more. A job in
the other direction finds the point, and sends only what has changed since (``going_back``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.peer.messages import Promoted
from qreplica.replication import jobs, qsnaps
from qreplica.replication.failing_over_errors import WrittenSince
from qreplica.replication.giving_way_errors import GiveWayNotConfirmed, JobNotSuperseded, NothingInCommon, StillAttached
from qreplica.replication.links import Target, Way, ask_by_any, target_of
from qreplica.replication.store import snapshots_of, unpin
from qreplica.state.database import Database
from qreplica.state.models import (
    Cycle,
    Job,
    JobState,
    RecoveryPoint,
    Severity,
    Snapshot,
    SnapshotKind,
    VdType,
    VirtualDisk,
)
from qreplica.storage import raid_groups, rolling_back
from qreplica.storage.driver import StorageDriver
from qreplica.storage.rolling_back import LetGo, Loss
from qreplica.storage.snapshots import Pause
from qreplica.units import format_size

#: Of a cycle without a manifest, which has no meaning any more once another job goes on.
_NO_MANIFEST = "0" * 64


class Promotions(Protocol):
    """What is asked of the other side; ``PeerClient`` says what the calls promise."""

    def promotion(self, iqn: str, vd: str) -> Promoted:
        """Return what became of a backup VD that was promoted."""

    def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class Common:
    """The newest generation that both sides hold: as ``here`` (id and name of a snapshot), and as ``there`` (an id)."""

    vd: str
    generation: int
    here: str
    here_name: str
    there: str


@dataclass(frozen=True, slots=True)
class Given:
    """What came of it: ``kept`` is the snapshot of what hosts wrote here; ``problems`` are not served again yet."""

    vd: str
    generation: int
    kept: str | None
    problems: tuple[QReplicaError, ...]


class GivingWay:
    """The service. ``controller`` is the one that it works on; ``peer`` makes what asks the other side by a way."""

    def __init__(  # noqa: PLR0917 - what a roll-back takes too
        self,
        database: Database,
        storage: StorageDriver,
        pause: Pause,
        let_go: LetGo,
        controller: int,
        peer: Callable[[Target, Way], Promotions],
    ) -> None:
        self._database = database
        self._storage = storage
        self._pause = pause
        self._let_go = let_go
        self._controller = controller
        self._peer = peer

    def prospect(self, job: str) -> tuple[Common, Loss]:
        """Return to which generation the job's source VD would go back, and what hosts wrote to it since.

        Raises NotFound, JobNotSuperseded, NothingInCommon, and what asking the other side does.
        """
        common = self._common(job)
        return common, rolling_back.loss(self._database, self._storage, common.vd, common.here_name)

    def give_way(self, job: str, confirmed: str | None) -> Given:
        """Do it. ``confirmed`` is the VD's name, which stands for having read what goes to a snapshot.

        Raises as ``prospect`` does, GiveWayNotConfirmed, StillAttached, GroupHasNoRoom, and what ``roll_back`` raises:
        then the VD is as it was. After a crash it is done again, and may keep the same twice.
        """
        common = self._common(job)
        with self._database.session(read_only=True) as session:
            self._check(session, job, common)
        if confirmed != common.vd:
            loss = rolling_back.loss(self._database, self._storage, common.vd, common.here_name)
            raise GiveWayNotConfirmed(vd=common.vd, loss=loss.sentence, generation=common.generation)
        done = rolling_back.roll_back(
            self._database,
            self._storage,
            self._pause,
            self._let_go,
            vd=common.vd,
            snapshot=common.here_name,
            confirmed=confirmed,
            keep_present=True,
        )
        self._become_backup(job, common, done.kept)
        return Given(common.vd, common.generation, done.kept, done.problems)

    def hand_over(self, job: str) -> None:
        """Do it for a VD that hosts could only read since the newest generation: nothing is kept, nor rolled back.

        Raises as ``prospect`` does, WrittenSince, StillAttached, GroupHasNoRoom: then the VD is as it was.
        """
        common = self._common(job)
        written = rolling_back.loss(self._database, self._storage, common.vd, common.here_name).changed
        if written:
            raise WrittenSince(vd=common.vd, changed=format_size(written), generation=common.generation, job=job)
        self._become_backup(job, common, None)

    def _common(self, name: str) -> Common:
        with self._database.session(read_only=True) as session:
            job = _superseded(session, name)
            job_id, vd = job.id, job.source_vd.name
            held = {row.id: row.name for row in _held(session, job)}
        target = target_of(self._database, job_id, self._controller)
        there = ask_by_any(target, self._peer, lambda peer: peer.promotion(target.node, target.vd))
        for point in sorted(there.points, key=attrgetter("generation"), reverse=True):
            if point.source_snapshot in held:
                here = point.source_snapshot
                return Common(vd, point.generation, here, held[here], point.snapshot)
        raise NothingInCommon(job=name, vd=vd, other=there.vd_name)

    def _check(self, session: Session, name: str, common: Common) -> Job:
        job = _superseded(session, name)
        for lun in job.source_vd.luns:
            if lun.snapshot_id is None:
                raise StillAttached(vd=common.vd, lun=lun.number, node=lun.node.name)
        vd = job.source_vd
        raid_groups.refuse_beyond(session, vd.raid_group, missing_space(vd), f"recovery points of {vd.name}")
        return job

    def _become_backup(self, name: str, common: Common, kept: str | None) -> None:
        """Write it down in one transaction; then delete the job's snapshots that nothing needs any more."""
        with self._database.session() as session:
            job = self._check(session, name, common)
            vd, cycle, snapshot = job.source_vd, session.get(Cycle, common.here), session.get_one(Snapshot, common.here)
            left = [one for one in snapshots_of(session, job.id) if one != common.here]
            unpin(session, [*left, common.here])
            vd.type, vd.snapshot_space = VdType.BACKUP, vd.snapshot_space + missing_space(vd)
            vd.snapshot_minutes, vd.write_protected = None, False
            snapshot.kind = SnapshotKind.RECOVERY_POINT
            point = RecoveryPoint(
                vd_id=vd.id,
                snapshot_id=snapshot.id,
                job_id=job.id,
                generation=common.generation,
                source_snapshot=common.there,
                size=snapshot.size,
                manifest=(cycle.manifest if cycle is not None else None) or _NO_MANIFEST,
            )
            session.add(point)
            told = (
                f"It is a backup VD now, with the content of generation {common.generation}: its job “{name}” gave way "
                f"to the copy that was promoted. {_since(kept)}"
            )
            log.record(session, Severity.WARNING, "vd-gave-way", f"vd {vd.name}", told)
            session.delete(job)
            vd_id = vd.id
        for one in left:
            qsnaps.delete(self._database, self._storage, vd_id, one)


def _superseded(session: Session, name: str) -> Job:
    job = jobs.get(session, name)
    if job.state is not JobState.SUPERSEDED:
        raise JobNotSuperseded(job=name, state=job.state)
    return job


def _held(session: Session, job: Job) -> list[Snapshot]:
    chosen = select(Snapshot).where(Snapshot.id.in_(snapshots_of(session, job.id)), Snapshot.taken_at.is_not(None))
    return list(session.scalars(chosen))


def _since(kept: str | None) -> str:
    """Tell what became of what was written since the generation."""
    if kept is None:
        return "Nothing had been written here since: the two were compared, and 0 bytes are lost."
    return f"Snapshot {kept} has what was written here since."


def missing_space(vd: VirtualDisk) -> int:
    """Return the bytes of snapshot space that a backup VD of its size has to have beside what it has."""
    return max(0, vd.size - vd.snapshot_space)
