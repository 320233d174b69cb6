"""Makes of a backup VD one that hosts use, on the administrator's word, when its source is gone (or is to be).

First it is decided, in one transaction: the epoch is raised, the job that held the VD is refused from then on, and the
VD is no LUN of its node any more. Then whoever was logged in is cut off, what was half received is rolled back, and the
VD becomes one of type RAID. Each step can be done again: promoting once more goes on where a crash or failure left it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.peer import messages
from qreplica.replication import recovery_claims as claims
from qreplica.replication.promotion_errors import (
    NoSuchGeneration,
    NothingToPromote,
    NotPromotable,
    NowhereAttached,
    PromotedOtherwise,
    PromotionNotConfirmed,
)
from qreplica.replication.recovery_errors import NotClaimed, NotPromoted, StaleEpoch
from qreplica.replication.recovery_points import newest, points_of_job
from qreplica.replication.recovery_progress import CLEAN
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.models import Claim, Lun, Node, RecoveryPoint, Severity, VdType, VirtualDisk, now
from qreplica.state.promotion_models import Promotion
from qreplica.storage import virtual_disks
from qreplica.units import format_duration


@dataclass(frozen=True, slots=True)
class Prospect:
    """What promoting to ``generation`` would leave behind.

    Its recovery point was committed at ``committed_at``; ``newer`` are the generations of later points, which stay as
    snapshots, and ``partial`` the one of which a part has arrived, None for none. ``choices`` are all that it could be
    promoted to: by generation, when each was committed.
    """

    generation: int
    committed_at: datetime
    newer: tuple[int, ...]
    partial: int | None
    choices: Mapping[int, datetime]

    @property
    def sentence(self) -> str:
        """It in words, without an end."""
        age = format_duration((now() - self.committed_at).total_seconds())
        told = (
            f"everything written to the source after the snapshot of generation {self.generation}, which was committed "
            f"here at {self.committed_at:%Y-%m-%d %H:%M:%S} UTC ({age} ago)"
        )
        if self.newer:
            told += f"; that of generation {', '.join(map(str, self.newer))} stays here as a snapshot"
        if self.partial is not None:
            told += f"; what has arrived of generation {self.partial} is dropped"
        return told


class Promoter:
    """The service. ``serving`` is shared with whoever else changes how nodes of backup VDs are served."""

    def __init__(self, database: Database, serving: Serving) -> None:
        self._database = database
        self._serving = serving

    def prospect(self, vd: str, generation: int | None = None) -> Prospect:
        """Return what promoting the VD would leave behind. Raises as ``promote`` does, though it asks for no word."""
        with self._database.session(read_only=True) as session:
            disk = _backup_vd(session, vd)
            row, claim = session.get(Promotion, disk.id), session.get(Claim, disk.id)
            generation = generation if row is None else row.generation
            return _prospect(session, claim, _point(session, disk, claim, generation))

    def promote(self, vd: str, *, generation: int | None = None, confirmed: str | None = None) -> Promotion:
        """Let hosts use the VD, with the content of that generation's recovery point, or of the newest.

        ``confirmed`` is the VD's name, which stands for having read what is left behind. Idempotent; after a failure it
        is called again, and goes on. Raises NotFound, NotPromotable, NothingToPromote, NoSuchGeneration,
        NowhereAttached, PromotionNotConfirmed, PromotedOtherwise: then nothing was changed; FencingFailed, PeerBusy and
        what the engine raises: then neither hosts nor the job may write, until it is promoted again.
        """
        with self._database.session(read_only=True) as session:
            iqn = _node_of(session, virtual_disks.get(session, vd)).iqn
        with self._serving.alone(iqn):
            with self._database.session() as session:
                disk = virtual_disks.get(session, vd)
                row = session.get(Promotion, disk.id)
                if row is None:
                    row = _decide(session, _backup_vd(session, vd), generation, confirmed)
                _check_same(row, generation)
                if row.promoted_at is not None:
                    return row
                claim = session.get_one(Claim, disk.id)
                node = claims.node_by_iqn(session, iqn)
                claims.renumber(session, node)  # each fence needs that anew
                spec = self._serving.spec_of(session, node)
                initiator, is_clean = claim.initiator, claim.generation is None
                point = session.scalars(select(RecoveryPoint).where(RecoveryPoint.snapshot_id == row.snapshot_id)).one()
            self._serving.fence(iqn, spec, vd)
            if not is_clean:
                self._serving.roll_back(iqn, point, initiator)
            return self._complete(row.vd_id)

    def promote_for(self, iqn: str, message: messages.Promote) -> messages.Promoted:
        """Promote a backup VD on the word of the job that holds it, which fails over. Idempotent.

        Raises NoSuchNode, NotClaimed, StaleEpoch, and as ``promote`` does.
        """
        with self._serving.alone(iqn):
            with self._database.session(read_only=True) as session:
                vd = _held_by(session, claims.node_by_iqn(session, iqn), message)
            self.promote(vd, generation=message.generation, confirmed=vd)
            with self._database.session(read_only=True) as session:
                return promoted(session, iqn, message.vd)

    def _complete(self, vd_id: str) -> Promotion:
        """Make the VD, whose content is that of the point, one that hosts may use."""
        with self._database.session() as session:
            row, claim = session.get_one(Promotion, vd_id), session.get_one(Claim, vd_id)
            claims.change(session, claim, row.vd, **CLEAN)
            row.vd.type, row.promoted_at = VdType.RAID, now()
            told = f"It was promoted with the content of generation {row.generation}: hosts can use it now."
            log.record(session, Severity.WARNING, "vd-promoted", f"vd {row.vd.name}", told)
            return row


def promoted(session: Session, iqn: str, vd_id: str) -> messages.Promoted:
    """Return what a source is told of the VD, which was on that node. Raises NotPromoted."""
    row, claim = session.get(Promotion, vd_id), session.get(Claim, vd_id)
    if row is None or claim is None or session.get_one(Node, claim.node_id).iqn != iqn:
        raise NotPromoted(vd=vd_id, node=iqn)
    points = [
        messages.PromotedPoint(generation=one.generation, source_snapshot=one.source_snapshot, snapshot=one.snapshot_id)
        for one in points_of_job(session, vd_id, row.job_id)
    ]
    return messages.Promoted(vd_name=row.vd.name, generation=row.generation, epoch=row.epoch, points=points)


def _held_by(session: Session, node: Node, message: messages.Promote) -> str:
    """Return the name of the job's backup VD, also of one that was promoted for it. Raises NotClaimed, StaleEpoch."""
    row, claim = session.get(Promotion, message.vd), session.get(Claim, message.vd)
    if claim is None or claim.node_id != node.id:
        raise NotClaimed(job=message.job, node=node.iqn)
    vd = session.get_one(VirtualDisk, message.vd)
    if row is not None and row.job_id == message.job:
        return vd.name
    if claim.job_id != message.job:
        raise NotClaimed(job=message.job, node=node.iqn)
    if claim.epoch > message.epoch:
        raise StaleEpoch(epoch=message.epoch, job=message.job, vd=vd.name, current=claim.epoch)
    return vd.name


def _decide(session: Session, vd: VirtualDisk, generation: int | None, confirmed: str | None) -> Promotion:
    """Write the decision down. From its commit on the job is refused, and nobody may log in to the VD."""
    claim = session.get(Claim, vd.id)
    point = _point(session, vd, claim, generation)
    if confirmed != vd.name:
        raise PromotionNotConfirmed(vd=vd.name, loss=_prospect(session, claim, point).sentence)
    node = _node_of(session, vd)
    if claim is None:
        claim = Claim(vd_id=vd.id, node_id=node.id, job_id=claims.NOBODY, source_subsystem="", epoch=0, initiator="")
        claim.generation = 0  # what the VD holds is not known without a claim
        session.add(claim)
        session.flush()
    source, epoch = claim.source_subsystem, claims.last_epoch(session, vd.id, node.id) + 1
    latest = newest(session, vd.id, point.job_id)
    if latest is not None and latest.id != point.id:
        claims.change(session, claim, vd, generation=claim.generation or 0)
    claims.let_go(session, claim, node, vd)
    claims.change(session, claim, vd, epoch=epoch)
    session.execute(delete(Lun).where(Lun.vd_id == vd.id, Lun.snapshot_id.is_(None)))
    row = Promotion(
        vd_id=vd.id,
        job_id=point.job_id,
        source_subsystem=source,
        epoch=epoch,
        generation=point.generation,
        source_snapshot=point.source_snapshot,
        snapshot_id=point.snapshot_id,
    )
    session.add(row)
    session.flush()
    session.expire_all()
    return row


def _check_same(row: Promotion, generation: int | None) -> None:
    if generation not in {None, row.generation}:
        raise PromotedOtherwise(vd=row.vd.name, generation=row.generation, at=row.told_at)


def _backup_vd(session: Session, name: str) -> VirtualDisk:
    vd = virtual_disks.get(session, name)
    if vd.type is not VdType.BACKUP:
        raise NotPromotable(vd=name)
    return vd


def _point(session: Session, vd: VirtualDisk, claim: Claim | None, generation: int | None) -> RecoveryPoint:
    """Return the point of that generation, or the newest, of the job that holds the VD or held it last."""
    latest = newest(session, vd.id, claims.NOBODY if claim is None else claim.job_id)
    if latest is None:
        raise NothingToPromote(vd=vd.name)
    if generation is None:
        return latest
    known = {one.generation: one for one in points_of_job(session, vd.id, latest.job_id)}
    if generation not in known:
        raise NoSuchGeneration(vd=vd.name, generation=generation, known=", ".join(map(str, known)))
    return known[generation]


def _prospect(session: Session, claim: Claim | None, point: RecoveryPoint) -> Prospect:
    points = points_of_job(session, point.vd_id, point.job_id)
    newer = tuple(one.generation for one in points if one.generation > point.generation)
    partial = None if claim is None or claim.manifest is None else claim.generation
    choices = {one.generation: one.committed_at for one in points}
    return Prospect(point.generation, point.committed_at, newer, partial, choices)


def _node_of(session: Session, vd: VirtualDisk) -> Node:
    """Return the node on which the VD is guarded."""
    claim = session.get(Claim, vd.id)
    if claim is not None:
        return session.get_one(Node, claim.node_id)
    for lun in vd.luns:
        if lun.snapshot_id is None:
            return lun.node
    raise NowhereAttached(vd=vd.name)
