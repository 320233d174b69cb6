"""What is shown of an RG's disks: the engine's present view of those that the state knows."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from qreplica.cluster.leases import NOBODY
from qreplica.state.models import Disk, MaintenanceLease, RaidGroup
from qreplica.storage.disks import device_path
from qreplica.storage.driver import DiskErrors, GroupHealth, GroupStatus


class DiskState(StrEnum):
    """How a disk of an RG is. REBUILDING: it is being put in the place of another one.

    FAILED: it made so many errors that it should be replaced. UNKNOWN: the RG is not open.
    """

    ONLINE = "online"
    REBUILDING = "rebuilding"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ShownDisk:
    """A disk of an RG; ``errors`` is None when the engine does not tell of it now."""

    disk: Disk
    state: DiskState
    errors: DiskErrors | None


def shown_disks(group: RaidGroup, status: GroupStatus) -> list[ShownDisk]:
    """Return the RG's disks by name, as ``status`` has them."""
    seen = {one.disk.resolve(): one for one in status.members if one.disk is not None}
    shown = []
    for disk in group.disks:
        here = seen.get(device_path(disk).resolve())
        lost = here.missing if here is not None else bool(status.members)
        shown.append(ShownDisk(disk, _state(disk, status, lost=lost), None if here is None else here.errors))
    return shown


def _state(disk: Disk, status: GroupStatus, *, lost: bool) -> DiskState:
    if status.health is GroupHealth.CLOSED:
        return DiskState.UNKNOWN
    if disk.replaces_id is not None:
        return DiskState.REBUILDING
    if lost:
        return DiskState.MISSING
    return DiskState.FAILED if disk.failed else DiskState.ONLINE


def maintainer_of(session: Session, group_id: str) -> int | None:
    """Return which controller holds the RG's lease, as the state says; None for nobody."""
    lease = session.get(MaintenanceLease, group_id)
    return None if lease is None or lease.controller == NOBODY else lease.controller
