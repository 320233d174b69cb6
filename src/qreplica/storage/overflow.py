"""Lets go of snapshots that take what was promised to others."""

from sqlalchemy import select

from qreplica.errors import NotFound
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity, Snapshot, SnapshotKind, VirtualDisk
from qreplica.storage import snapshots
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import NoSuchSnapshot, SnapshotPinned
from qreplica.storage.space_pressure import NEWS
from qreplica.units import format_size

#: In their order. What a cycle carries, and recovery points, are let go of by replication alone.
_MAY_GO = (SnapshotKind.AUTOMATIC, SnapshotKind.MANUAL)


def let_oldest_go(db: Database, driver: StorageDriver, vd_id: str, held: int) -> bool:
    """Delete the oldest snapshot of a VD that nothing pins, automatic ones first; tell whether one was.

    None goes unless ``held``, what the VD and its snapshots hold, is more than the VD was promised. Raises what the
    driver does.
    """
    with db.session(read_only=True) as session:
        vd = session.get(VirtualDisk, vd_id)
        if vd is None or held - vd.size - vd.snapshot_space <= NEWS:
            return False
        chosen = select(Snapshot).where(
            Snapshot.vd_id == vd_id, Snapshot.kind.in_(_MAY_GO), Snapshot.taken_at.is_not(None)
        )
        oldest = sorted(session.scalars(chosen), key=lambda one: (_MAY_GO.index(one.kind), one.taken_at))
        free = next((one for one in oldest if not snapshots.pins(session, one.id)), None)
    if free is None:
        return False
    try:
        snapshots.delete(db, driver, vd.name, free.name)
    except (NotFound, NoSuchSnapshot, SnapshotPinned):
        # In the meantime: the next look decides anew.
        return False
    promised = vd.size + vd.snapshot_space
    with db.session() as session:
        told = (
            f"Snapshot {free.name} of {vd.name} was let go of, because the RAID group ran out of room while {vd.name} "
            f"and its snapshots held {format_size(held - promised)} beyond the {format_size(promised)} of its size and "
            f"snapshot space: give it more with “qreplica vd set-snapshot-space {vd.name}”."
        )
        log.record(session, Severity.WARNING, "snapshot-let-go", f"vd {vd.name}", told)
    return True
