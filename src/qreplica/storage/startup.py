"""Brings the storage to the state of the database when a controller starts."""

from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity, Snapshot, SnapshotKind
from qreplica.storage import disks, raid_groups
from qreplica.storage.driver import StorageDriver


def open_storage(db: Database, driver: StorageDriver) -> None:
    """Give images their loop devices and open every RG; idempotent.

    One that cannot be opened becomes an event and holds nobody else up. VDs without a row are told of, never deleted.
    """
    disks.attach_images(db)
    with db.session(read_only=True) as session:
        groups = {
            group.id: (group.name, [disks.device_path(disk) for disk in group.disks], {vd.id for vd in group.vds})
            for group in raid_groups.listing(session)
        }
    for group, (name, paths, known) in groups.items():
        try:
            driver.open_group(group, paths)
            found = set(driver.list_vds(group))
        except QReplicaError as error:
            _tell(db, Severity.ERROR, error.kind, name, error.sentence)
            continue
        for vd in sorted(found - known):
            _tell(
                db, Severity.WARNING, "vd-unknown", name, f"It holds a virtual disk {vd} that the state does not know."
            )
        for vd in sorted(known - found):
            _tell(db, Severity.ERROR, "vd-missing", name, f"Virtual disk {vd} is not there: it cannot be served.")
    _forget_half_taken(db, driver)


def _tell(db: Database, severity: Severity, kind: str, group: str, message: str) -> None:
    with db.session() as session:
        log.record(session, severity, kind, f"rg {group}", message)


def _forget_half_taken(db: Database, driver: StorageDriver) -> None:
    """Undo manual snapshots that a crash interrupted; those of cycles and recovery points are gone on with."""
    half = select(Snapshot).where(Snapshot.taken_at.is_(None), Snapshot.kind == SnapshotKind.MANUAL)
    with db.session() as session:
        for snapshot in session.scalars(half).all():
            driver.delete_snapshot(snapshot.vd.raid_group_id, snapshot.vd_id, snapshot.id)
            session.delete(snapshot)
