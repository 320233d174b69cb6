"""What a backup VD has in progress: from begin to the recovery point that a commit makes of it."""

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.peer import messages
from qreplica.replication import recovery_claims as claims
from qreplica.replication.recovery_errors import (
    BackupVdCannotFollow,
    BaseMismatch,
    GenerationInvalid,
    ManifestMismatch,
    NotBegun,
)
from qreplica.replication.recovery_points import as_message, points_of_job
from qreplica.state.models import Claim, Node, RecoveryPoint, Severity, Snapshot, SnapshotKind, VirtualDisk
from qreplica.storage import extending
from qreplica.storage.driver import BLOCK
from qreplica.storage.service_errors import GroupHasNoRoom
from qreplica.units import format_size

#: The columns of a claim whose live VD is the newest recovery point.
CLEAN: dict[str, None] = dict.fromkeys(("generation", "base_generation", "source_snapshot", "size", "manifest"))


def progress(message: messages.Begin) -> dict[str, object]:
    """Return the columns of a claim that has begun this generation."""
    return {name: getattr(message, name) for name in CLEAN}


def begun_already(row: Claim, message: messages.Begin) -> bool:
    """Tell whether the generation in progress is this very one, so that what was durable of it stands."""
    return all(getattr(row, name) == value for name, value in progress(message).items())


def check_base(session: Session, vd: VirtualDisk, message: messages.Begin) -> None:
    """Check that the generation is new, and computed from the newest point unless it is a full copy.

    Raises GenerationInvalid, BaseMismatch.
    """
    points = points_of_job(session, vd.id, message.job)
    newest = points[-1] if points else None
    if newest is not None and message.generation <= newest.generation:
        raise GenerationInvalid(generation=message.generation, vd=vd.name, newest=newest.generation)
    if message.base_generation is None and message.base_snapshot is None:
        return
    offered = (message.base_generation, message.base_snapshot)
    if newest is None or (newest.generation, newest.source_snapshot) != offered:
        raise BaseMismatch(
            offered=f"generation {message.base_generation} (snapshot {message.base_snapshot})",
            vd=vd.name,
            newest="none of this job's"
            if newest is None
            else f"generation {newest.generation} (snapshot {newest.source_snapshot})",
        )


def make_room(session: Session, vd: VirtualDisk, source_size: int) -> None:
    """Promise the backup VD what a source VD that has grown needs; the engine is to follow.

    Raises BackupVdCannotFollow.
    """
    size = -(-source_size // BLOCK) * BLOCK
    if size <= vd.size:
        return
    before = vd.size
    try:
        extending.promise(session, vd, size)
    except GroupHasNoRoom as error:
        figures = {name: error.fields[name] for name in ("group", "free", "needed")}
        raise BackupVdCannotFollow(vd=vd.name, size=before, source_size=source_size, **figures) from error
    told = f"It was extended from {format_size(before)} to {format_size(size)}, because the source VD has grown."
    log.record(session, Severity.INFO, "backup-vd-extended", f"vd {vd.name}", told)


def committed_already(session: Session, vd: VirtualDisk, message: messages.Commit) -> RecoveryPoint | None:
    """Return the point that an earlier commit of the generation made. Raises ManifestMismatch for another manifest."""
    point = session.scalar(
        select(RecoveryPoint).where(
            RecoveryPoint.vd_id == vd.id,
            RecoveryPoint.job_id == message.job,
            RecoveryPoint.generation == message.generation,
        )
    )
    if point is not None and point.manifest != message.manifest:
        raise ManifestMismatch(
            generation=message.generation,
            vd=vd.name,
            step="committed",
            expected=point.manifest,
            offered=message.manifest,
        )
    return point


def check_begun(row: Claim, vd: VirtualDisk, message: messages.Commit | messages.Compare) -> None:
    """Raise NotBegun or ManifestMismatch unless the generation in progress is the one that the message is about."""
    if row.manifest is None:
        raise NotBegun(generation=message.generation, vd=vd.name, present="none is in progress")
    if row.generation != message.generation:
        present = f"generation {row.generation} is in progress"
        raise NotBegun(generation=message.generation, vd=vd.name, present=present)
    if row.manifest != message.manifest:
        raise ManifestMismatch(
            generation=message.generation, vd=vd.name, step="begun", expected=row.manifest, offered=message.manifest
        )


def begin_snapshot(session: Session, row: Claim, vd: VirtualDisk) -> str:
    """Write down that the generation's snapshot is about to be taken, and return its id.

    The id is the same whenever the same owner commits the same generation, so that a commit that was cut off finds its
    snapshot again. It holds the epoch: what an old owner's commit froze is never taken for a newer one's.
    """
    facts = (row.vd_id, row.job_id, row.epoch, *(getattr(row, name) for name in CLEAN))
    snapshot_id = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    if session.get(Snapshot, snapshot_id) is None:
        name = f"recovery-{row.generation}-{snapshot_id[:8]}"
        session.add(
            Snapshot(
                id=snapshot_id, vd_id=vd.id, name=name, kind=SnapshotKind.RECOVERY_POINT, size=vd.size, taken_at=None
            )
        )
    return snapshot_id


def point_of(row: Claim, snapshot_id: str) -> RecoveryPoint:
    """Return the recovery point that the generation in progress becomes."""
    return RecoveryPoint(
        vd_id=row.vd_id,
        snapshot_id=snapshot_id,
        job_id=row.job_id,
        generation=row.generation,
        base_generation=row.base_generation,
        source_snapshot=row.source_snapshot,
        size=row.size,
        manifest=row.manifest,
    )


def lineage_of(session: Session, node: Node, vd: VirtualDisk, row: Claim | None) -> messages.Lineage:
    """Return what the VD holds, for the job of ``row``; without one, that nobody holds it."""
    return messages.Lineage(
        vd=vd.id,
        vd_name=vd.name,
        lun=claims.attachment(session, node, vd),
        size=vd.size,
        serial=vd.serial,
        epoch=claims.last_epoch(session, vd.id, node.id),
        initiator="" if row is None else row.initiator,
        points=[] if row is None else [as_message(one) for one in points_of_job(session, vd.id, row.job_id)],
        in_progress=None if row is None else _in_progress(row),
    )


def _in_progress(row: Claim) -> messages.InProgress | None:
    if row.generation is None or row.source_snapshot is None or row.size is None or row.manifest is None:
        return None
    return messages.InProgress(
        generation=row.generation,
        base_generation=row.base_generation,
        source_snapshot=row.source_snapshot,
        size=row.size,
        manifest=row.manifest,
    )
