"""Brings the storage to the state of the database when a controller starts."""

from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, Severity, VirtualDisk
from qreplica.storage import disks, extending, raid_groups, snapshots, virtual_disks
from qreplica.storage.driver import StorageDriver


def open_storage(db: Database, driver: StorageDriver, *, controller: int | None = None) -> None:
    """Give images their loop devices, open every RG, and undo or finish what a crash left half done; idempotent.

    What fails becomes an event of ``controller`` and holds nothing else up.
    """

    def tell(severity: Severity, kind: str, subject: str, message: str) -> None:
        with db.session() as session:
            log.record(session, severity, kind, subject, message, controller=controller)

    for name, error in disks.attach_images(db).items():
        tell(Severity.ERROR, error.kind, f"disk {name}", error.sentence)
    try:
        raid_groups.undo_incomplete(db, driver)
    except QReplicaError as error:
        tell(Severity.ERROR, error.kind, "raid groups", f"One left half made could not be undone: {error.sentence}")
    with db.session(read_only=True) as session:
        groups = [(group.id, group.name) for group in raid_groups.listing(session)]
    for group_id, name in groups:
        try:
            open_group(db, driver, group_id, controller=controller)
        except QReplicaError as error:
            tell(Severity.ERROR, error.kind, f"rg {name}", error.sentence)


def open_group(db: Database, driver: StorageDriver, group_id: str, *, controller: int | None = None) -> None:
    """Open an RG, and undo or finish what a crash left half done in it; idempotent.

    VDs that only one side knows become events of ``controller``, and are left alone. Raises what the driver does.
    """
    with db.session(read_only=True) as session:
        group = session.get(RaidGroup, group_id)
        if group is None:
            return
        paths = [disks.device_path(disk) for disk in group.disks]
    driver.open_group(group_id, paths)
    virtual_disks.undo_incomplete(db, driver, group_id)
    extending.finish(db, driver, group_id)
    snapshots.undo_incomplete(db, driver, group_id)
    unknown, missing = _differences(db, driver, group_id)
    if not unknown and not missing:
        return
    with db.session() as session:
        for vd in unknown:
            told = f"RAID group {group.name} holds a virtual disk {vd} that the state does not know: it is left alone."
            log.record(session, Severity.WARNING, "vd-unknown", f"rg {group.name}", told, controller=controller)
        for vd in missing:
            told = f"RAID group {group.name} does not hold virtual disk {vd}, which therefore cannot be served."
            log.record(session, Severity.ERROR, "vd-missing", f"vd {vd}", told, controller=controller)


def _differences(db: Database, driver: StorageDriver, group_id: str) -> tuple[list[str], list[str]]:
    """Return the ids of VDs that only the engine has, and the names of those that only the state has."""
    found = set(driver.list_vds(group_id))
    with db.session(read_only=True) as session:
        rows = session.scalars(select(VirtualDisk).where(VirtualDisk.raid_group_id == group_id)).all()
    missing = [vd.name for vd in rows if vd.id not in found and not vd.incomplete]
    return sorted(found - {vd.id for vd in rows}), sorted(missing)
