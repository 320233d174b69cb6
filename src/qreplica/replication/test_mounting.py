"""Test mounts: a recovery point as a writable disk of its own, while replication into its backup VD goes on.

A test mount is a VD of type RAID that the engine cloned from the point, and is used like any other. What is written
to it takes space of its own, which is promised to it in full; its point stays as long as it does.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound
from qreplica.events import log
from qreplica.iscsi import nodes
from qreplica.iscsi.service_errors import NodeMixed
from qreplica.replication import point_keeping
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.models import Severity, Snapshot, VirtualDisk
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import virtual_disks
from qreplica.storage.driver import StorageDriver
from qreplica.units import format_duration, format_size

#: How long one may be there before somebody is told, and again.
REMIND_AFTER = timedelta(days=1)


def make(
    db: Database,
    driver: StorageDriver,
    vd: str,
    point: str,
    *,
    by: str,
    name: str | None = None,
    node: str | None = None,
    lun: int | None = None,
) -> str:
    """Make a test mount of the backup VD's point of that name or generation; return its name.

    It is named after both unless a ``name`` is given, and attached to ``node`` if there is one, as LUN ``lun`` or the
    next free. ``by`` is the user. Raises NotFound, RetentionOfRaid, NoSuchRecoveryPoint, GenerationAmbiguous, NotAName,
    NameTaken, GroupHasNoRoom, LunTaken, LunNumberInvalid, NodeMixed; then nothing was made.
    """
    with db.session(read_only=True) as session:
        generation = point_keeping.get(session, vd, point).point.generation
        name = name or f"{vd}-test-{generation}"
        if node is not None:
            _refuse_place(session, node, lun, name)

    def find(session: Session) -> Snapshot:
        # Again: it may be let go at any time until something needs it.
        return point_keeping.get(session, vd, point).point.snapshot

    def note(session: Session, made: VirtualDisk) -> None:
        session.add(TestMount(vd_id=made.id, snapshot=find(session), generation=generation, made_by=by))
        told = f"Recovery point {generation} of {vd} can be tried as {name}, made by {by}."
        log.record(session, Severity.INFO, "test-mount-made", f"vd {name}", told)

    virtual_disks.clone(db, driver, name=name, find=find, note=note)
    if node is not None:
        try:
            with db.session() as session:
                nodes.attach(session, node=node, vd=name, lun=lun)
        except BaseException:
            virtual_disks.delete(db, driver, name)
            raise
    return name


def _refuse_place(session: Session, node: str, lun: int | None, name: str) -> None:
    """Raise what attaching to the node would, as far as it can be known before."""
    on = nodes.get(session, node)
    if nodes.for_replication(on):
        raise NodeMixed(vd=name, node=node)
    if lun is not None:
        nodes.refuse_number(on, lun)


def listing(session: Session) -> list[TestMount]:
    """Return all by name."""
    return list(session.scalars(select(TestMount).join(VirtualDisk).order_by(VirtualDisk.name)))


def get(session: Session, name: str) -> TestMount:
    """Return the test mount. Raises NotFound."""
    row = session.scalar(select(TestMount).join(VirtualDisk).where(VirtualDisk.name == name))
    if row is None:
        raise NotFound(what="test mount", name=name, noun="test-mount")
    return row


def end(db: Database, driver: StorageDriver, name: str, reconcile: Callable[[], object]) -> None:
    """Take a test mount from its hosts and delete it, with all that was written to it.

    ``reconcile`` has the target daemons follow. After a failure it is called again. Raises NotFound, and what
    ``virtual_disks.delete`` does.
    """
    with db.session() as session:
        vd = get(session, name).vd
        luns = [lun for lun in vd.luns if lun.snapshot_id is None]
        for lun in luns:
            session.delete(lun)
    if luns:
        reconcile()
    virtual_disks.delete(db, driver, name)
    with db.session() as session:
        log.record(session, Severity.INFO, "test-mount-ended", f"vd {name}", "The test mount was ended, and is gone.")


def remind(db: Database, driver: StorageDriver, group_id: str, now: Callable[[], datetime] = models.now) -> None:
    """Tell of test mounts of the RG that are there for a day, and each further day: a step of its maintenance."""
    at = now()
    with db.session(read_only=True) as session:
        mine = select(TestMount).join(VirtualDisk).where(VirtualDisk.raid_group_id == group_id)
        if not any(_is_due(one, at) for one in session.scalars(mine)):
            return
    with db.session() as session:
        for one in session.scalars(mine):
            if _is_due(one, at):
                one.reminded_at = at
                held = driver.space_used(group_id, one.vd_id, settled=False).total
                log.record(session, Severity.WARNING, "test-mount-left", f"vd {one.vd.name}", _reminder(one, at, held))


def _is_due(one: TestMount, at: datetime) -> bool:
    return at - (one.reminded_at or one.made_at) >= REMIND_AFTER


def _reminder(one: TestMount, at: datetime, held: int) -> str:
    since = format_duration((at - one.made_at).total_seconds())
    return (
        f"This test mount of recovery point {one.generation} of {one.snapshot.vd.name} is there for {since}, made by "
        f"{one.made_by}, and keeps that point and {format_size(one.vd.size)} of the RAID group from others (it uses "
        f"{format_size(held)}): end it with “qreplica test-mount end {one.vd.name}” when it is no longer needed."
    )
