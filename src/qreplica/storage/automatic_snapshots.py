"""Takes snapshots of virtual disks by their schedules, and keeps so many of each as were asked for."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from qreplica.errors import NotFound, QReplicaError
from qreplica.events import log
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.models import Severity, Snapshot, SnapshotKind, VdType, VirtualDisk
from qreplica.storage import snapshots, virtual_disks
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import (
    NoSnapshotSpace,
    NoSuchSnapshot,
    ScheduleInvalid,
    ScheduleOfBackup,
    SnapshotPinned,
)

_MOST_MINUTES, _MOST_KEPT = 366 * 24 * 60, 256
#: Seconds until it is tried again after a failure: a try makes hosts wait. And after a snapshot was let go, whose space
#: comes back in the background.
_AGAIN, _SETTLED = 60.0, 30.0


@dataclass(frozen=True, slots=True)
class Taken:
    """An automatic snapshot; ``pinned``: something needs it."""

    name: str
    taken_at: datetime
    pinned: bool


def due(now: datetime, last: datetime | None, every: timedelta) -> bool:
    """Tell whether the next snapshot is due; however many times were missed, it is one."""
    return last is None or now - last >= every


def surplus(taken: Sequence[Taken], keep: int) -> list[Taken]:
    """Return which to let go, oldest first: all but the newest ``keep`` and those that something needs."""
    oldest_first = sorted(taken, key=lambda one: one.taken_at)
    return [one for one in oldest_first[: max(0, len(oldest_first) - keep)] if not one.pinned]


def schedule(db: Database, name: str, *, minutes: int | None, keep: int) -> VirtualDisk:
    """Have a snapshot taken every so many ``minutes``, None for no more, and the newest ``keep`` of them kept.

    Snapshots that are there stay when the schedule ends. Raises NotFound, ScheduleInvalid, ScheduleOfBackup, and
    NoSnapshotSpace for a VD that has none.
    """
    if not 1 <= keep <= _MOST_KEPT or (minutes is not None and not 1 <= minutes <= _MOST_MINUTES):
        raise ScheduleInvalid(minutes=minutes, keep=keep, most_minutes=_MOST_MINUTES, most_kept=_MOST_KEPT)
    with db.session() as session:
        vd = virtual_disks.get(session, name)
        if vd.type is VdType.BACKUP:
            raise ScheduleOfBackup(vd=name)
        if minutes is not None and not vd.snapshot_space:
            raise NoSnapshotSpace(vd=name, space=0, used=0)
        vd.snapshot_minutes, vd.snapshots_kept = minutes, keep
    return vd


class AutomaticSnapshots:
    """A step of an RG's maintenance, for one process: to be called every few seconds for each open RG."""

    def __init__(
        self,
        pause: snapshots.Pause,
        *,
        now: Callable[[], datetime] = models.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pause = pause
        self._now = now
        self._clock = clock
        self._not_before: dict[str, float] = {}
        self._skipping: set[str] = set()

    def __call__(self, db: Database, driver: StorageDriver, group_id: str) -> None:
        """Do what is due for the RG's VDs. Raises the first failure after all were tried."""
        with db.session(read_only=True) as session:
            chosen = select(VirtualDisk).where(
                VirtualDisk.raid_group_id == group_id,
                VirtualDisk.snapshot_minutes.is_not(None),
                ~VirtualDisk.incomplete,
            )
            vds = list(session.scalars(chosen))
        failure: QReplicaError | None = None
        for vd in vds:
            try:
                self._tend(db, driver, vd)
            except QReplicaError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _tend(self, db: Database, driver: StorageDriver, vd: VirtualDisk) -> None:
        if self._is_due(db, vd):
            # Said before it is tried: one that fails for another reason must not be tried at once again either.
            self._not_before[vd.id] = self._clock() + _AGAIN
            name = f"auto-{self._now():%Y%m%d-%H%M%S}"
            try:
                snapshots.take(db, driver, self._pause, vd_id=vd.id, name=name, kind=SnapshotKind.AUTOMATIC)
            except NoSnapshotSpace as error:
                self._make_room(db, driver, vd, error)
                return
            del self._not_before[vd.id]
            self._skipping.discard(vd.id)
        for one in surplus(_taken(db, vd.id), vd.snapshots_kept):
            _let_go(db, driver, vd, one)

    def _is_due(self, db: Database, vd: VirtualDisk) -> bool:
        if vd.snapshot_minutes is None or self._clock() < self._not_before.get(vd.id, 0.0):
            return False
        now = self._now()
        # One of the future, from before a clock was set back, would hold all others up until then.
        last = max((one.taken_at for one in _taken(db, vd.id) if one.taken_at <= now), default=None)
        return due(now, last, timedelta(minutes=vd.snapshot_minutes))

    def _make_room(self, db: Database, driver: StorageDriver, vd: VirtualDisk, error: NoSnapshotSpace) -> None:
        """Let the oldest go, unless it is the only one; when there is none, say once that no more are taken."""
        oldest = next(iter(surplus(_taken(db, vd.id), keep=1)), None)
        if oldest is not None:
            _let_go(db, driver, vd, oldest)
            self._not_before[vd.id] = self._clock() + _SETTLED
        elif vd.id not in self._skipping:
            with db.session() as session:
                told = f"Its automatic snapshots are skipped until there is room: {error.sentence}"
                log.record(session, Severity.WARNING, "automatic-snapshots-skipped", f"vd {vd.name}", told)
            self._skipping.add(vd.id)


def _taken(db: Database, vd_id: str) -> list[Taken]:
    with db.session(read_only=True) as session:
        chosen = select(Snapshot).where(Snapshot.vd_id == vd_id, Snapshot.kind == SnapshotKind.AUTOMATIC)
        return [
            Taken(one.name, one.taken_at, pinned=bool(snapshots.pins(session, one.id)))
            for one in session.scalars(chosen)
            if one.taken_at is not None
        ]


def _let_go(db: Database, driver: StorageDriver, vd: VirtualDisk, one: Taken) -> None:
    # Whoever has deleted it or needs it meanwhile is right; the next look decides anew.
    with contextlib.suppress(NotFound, NoSuchSnapshot, SnapshotPinned):
        snapshots.delete(db, driver, vd.name, one.name)
