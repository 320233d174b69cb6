"""What may be source VD, node and backup VD of a new job, and why another may not.

One judgement for all who ask: the lists that the wizard shows, and the creation, which refuses with the same words.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.peer.messages import BackupVd, BackupVdList
from qreplica.replication import configuration
from qreplica.replication.errors import (
    BackupVdClaimed,
    BackupVdRefused,
    BackupVdTooSmall,
    NodeLoggedOn,
    SnapshotSpaceShort,
    SourceIsBackup,
    SourceIsTestMount,
    SourceReplicated,
    SourceRolledBack,
    TargetNotBackup,
)
from qreplica.replication.snapshot_space import automatic
from qreplica.state.models import HeldBack, Job, VdType, VirtualDisk
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import GroupHealth, StorageDriver
from qreplica.storage.errors import GroupClosed


@dataclass(frozen=True, slots=True)
class Source:
    """A VD; ``space`` is the snapshot space in bytes that it is given with a job, ``obstacle`` why it gets none."""

    vd: VirtualDisk
    space: int
    obstacle: QReplicaError | None


def sources(session: Session, storage: StorageDriver) -> list[Source]:
    """Return all VDs by name. Raises what the driver does."""
    return [_judged(session, vd, storage) for vd in virtual_disks.listing(session)]


def _judged(session: Session, vd: VirtualDisk, storage: StorageDriver) -> Source:
    return Source(vd, space_to_give(session, vd), source_obstacle(session, vd) or group_obstacle(vd, storage))


def space_to_give(session: Session, vd: VirtualDisk) -> int:
    """Return the snapshot space in bytes that the VD is given with a job; none if it was set by hand."""
    return 0 if vd.snapshot_space else automatic(vd.size, configuration.get(session).ratio)


def source_obstacle(session: Session, vd: VirtualDisk) -> QReplicaError | None:
    """Return why a new job may not replicate the VD, None if it may, as far as the state tells."""
    if vd.type is not VdType.RAID:
        return SourceIsBackup(vd=vd.name)
    mount = session.get(TestMount, vd.id)
    if mount is not None:
        return SourceIsTestMount(vd=vd.name, generation=mount.generation, origin=mount.snapshot.vd.name)
    job = session.scalar(select(Job.name).where(Job.source_vd_id == vd.id).limit(1))
    if job is not None:
        return SourceReplicated(vd=vd.name, job=job)
    if session.get(HeldBack, vd.id) is not None:
        return SourceRolledBack(vd=vd.name)
    needed, free = space_to_give(session, vd), raid_groups.space(session, vd.raid_group).free
    if needed > free:
        ratio = configuration.get(session).ratio
        return SnapshotSpaceShort(vd=vd.name, needed=needed, ratio=ratio, group=vd.raid_group.name, free=max(0, free))
    return None


def group_obstacle(vd: VirtualDisk, storage: StorageDriver) -> QReplicaError | None:
    """Return why nothing can be replicated from the VD's RG just now, None if it can."""
    closed = storage.group_status(vd.raid_group_id).health is GroupHealth.CLOSED
    return GroupClosed(group=vd.raid_group.name) if closed else None


def node_obstacle(session: Session, node: str) -> QReplicaError | None:
    """Return why a new job may not log on to the target's node, as far as is known here; None if it may."""
    other = session.scalar(select(Job.name).where(Job.target_node == node).limit(1))
    return None if other is None else NodeLoggedOn(job=other, node=node)


def vd_obstacle(offered: BackupVdList, vd: BackupVd, node: str, needed: int | None) -> QReplicaError | None:
    """Return why a new job may not replicate a VD of ``needed`` bytes to the target's VD, None if it may.

    Without ``needed`` the size is not judged.
    """
    if vd.type != VdType.BACKUP:
        return TargetNotBackup(vd=vd.name, lun=vd.lun, node=node, type=vd.type)
    if needed is not None and vd.size < needed:
        return BackupVdTooSmall(vd=vd.name, found=vd.size, needed=needed)
    if vd.claimed_by is not None:
        return BackupVdClaimed(vd=vd.name, lun=vd.lun, node=node, holder=vd.claimed_by)
    if vd.refusal is not None:
        return BackupVdRefused(subsystem=offered.subsystem, vd=vd.name, lun=vd.lun, node=node, reason=vd.refusal)
    return None
