"""Lets go of snapshots that take what was promised to others."""

from collections.abc import Sequence

from sqlalchemy import select

from qreplica.errors import NotFound
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity, Snapshot, SnapshotKind
from qreplica.storage import snapshots
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import NoSuchSnapshot, SnapshotPinned
from qreplica.units import format_size

_MAY_GO = (SnapshotKind.AUTOMATIC, SnapshotKind.MANUAL)


def let_oldest_go(db: Database, driver: StorageDriver, vds: Sequence[str]) -> bool:
    """Delete the oldest snapshot of the VDs of these ids that nothing pins, automatic ones first; tell whether one was.

    Raises what the driver does.
    """
    with db.session(read_only=True) as session:
        chosen = select(Snapshot).where(
            Snapshot.vd_id.in_(vds), Snapshot.kind.in_(_MAY_GO), Snapshot.taken_at.is_not(None)
        )
        oldest = sorted(session.scalars(chosen), key=lambda one: (_MAY_GO.index(one.kind), one.taken_at))
        free = next((one for one in oldest if not snapshots.pins(session, one.id)), None)
        if free is None:
            return False
        vd, name, space = free.vd.name, free.name, free.vd.snapshot_space
    try:
        snapshots.delete(db, driver, vd, name)
    except (NotFound, NoSuchSnapshot, SnapshotPinned):
        # In the meantime: the next look decides anew.
        return False
    with db.session() as session:
        told = (
            f"Snapshot {name} of {vd} was let go of: the snapshots took more than their {format_size(space)} of "
            f"snapshot space, and hosts needed the room; give {vd} more with “qreplica vd set-snapshot-space”."
        )
        log.record(session, Severity.WARNING, "snapshot-let-go", f"vd {vd}", told)
    return True
