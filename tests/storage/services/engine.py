"""An engine in memory whose disks fail, vanish and are rebuilt when a test says so, and which outlives the daemon."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from qreplica.state.models import Disk, Event, RaidGroup, Severity
from qreplica.storage import raid_groups
from qreplica.storage.driver import (
    DiskErrors,
    GroupHealth,
    GroupStatus,
    MemberStatus,
    RaidLevel,
    Scrub,
)
from qreplica.storage.maintenance import Maintenance
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

from .world import Fate, Mortal, MortalDatabase, World


class Engine(MemoryDriver):
    """Replacing and growing go on until ``finish``; scrubs until ``end_scrub``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.members: dict[str, list[Path]] = {}
        self.errors: dict[Path, DiskErrors] = {}
        self.missing: set[Path] = set()
        self.pathless = False
        self.stopped_writing = False
        self.replacing: dict[str, tuple[Path, Path]] = {}
        self.tended = 0

    def create_group(self, group: str, disks: Any, level: RaidLevel) -> None:
        super().create_group(group, disks, level)
        self.members[group] = list(disks)

    def group_status(self, group: str) -> GroupStatus:
        status = super().group_status(group)
        if status.health is GroupHealth.CLOSED:
            return status
        members = tuple(self._status_of(disk) for disk in self.members[group])
        lost = sum(one.missing for one in members)
        health = GroupHealth.DEGRADED if lost else GroupHealth.ONLINE
        if self.stopped_writing:
            health = GroupHealth.FAILED
        if group in self._rebuilding:
            return GroupStatus(GroupHealth.REBUILDING, status.allocated, lost, rebuilt=0.25, members=members)
        return GroupStatus(health, status.allocated, lost, members=members)

    def _status_of(self, disk: Path) -> MemberStatus:
        missing = disk in self.missing
        known = None if missing and self.pathless else disk
        return MemberStatus(known, missing, self.errors.get(disk, DiskErrors()))

    def replace_disk(self, group: str, old: Path, new: Path) -> None:
        if self._member(group, new):
            return
        super().replace_disk(group, old, new)
        self.replacing[group] = (old, new)
        self.members[group].append(new)

    def add_disk(self, group: str, disk: Path) -> None:
        if self._member(group, disk):
            return
        super().add_disk(group, disk)
        self.members[group].append(disk)

    def tend_group(self, group: str) -> None:
        self._group(group)
        self.tended += 1

    def finish(self, group: str) -> None:
        """End the rebuild well."""
        self._rebuilding.discard(group)
        if group in self.replacing:
            old, _ = self.replacing.pop(group)
            self.members[group].remove(old)
            self.missing.discard(old)

    def fail_rebuild(self, group: str) -> None:
        """End a replacement, because the new disk is bad."""
        self._rebuilding.discard(group)
        old, new = self.replacing.pop(group)
        self.members[group].remove(new)
        self._owner(new).unlink()
        self._owner(old).write_text(group)

    def start_scrub(self, group: str) -> None:
        if group not in self._scrubs or not self._scrubs[group].running:
            super().start_scrub(group)
            self._scrubs[group] = replace(self._scrubs[group], running=True, progress=0.5)

    def stop_scrub(self, group: str) -> None:
        super().stop_scrub(group)
        if group in self._scrubs and self._scrubs[group].running:
            self._scrubs[group] = replace(self._scrubs[group], running=False, interrupted=True)

    def end_scrub(self, group: str, **found: Any) -> Scrub:
        self._scrubs[group] = replace(self._scrubs[group], running=False, progress=1.0, seconds=9.0, **found)
        return self._scrubs[group]

    def forget_scrub(self, group: str) -> None:
        """Lose all that is known of scrubs, as with the machine."""
        self._scrubs.pop(group, None)


class EngineWorld(World):
    """A world over such an engine, and rounds of maintenance in it."""

    storage: Engine

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.storage = Engine(place / "groups")
        self._stand_before()

    def _stand_before(self) -> None:
        self.fate = Fate()
        self.db, self.driver = MortalDatabase(self.database, self.fate), Mortal(self.storage, self.fate)

    def restart(self) -> None:
        """End the daemon and start it anew; the engine goes on."""
        self._stand_before()
        self.maintenance = self.new_maintenance()

    def mirror(self, *disks: str, name: str = "rg1", size: int = 2 * GIB) -> str:
        """Make an RG of two disks, or of those given, and return its id."""
        names = disks or ("d1", "d2")
        for disk in names:
            self.disk(disk, size)
        group = raid_groups.create(self.database, self.storage, name=name, level=RaidLevel.RAID1, disks=names)
        self.group_id = group.id
        self.maintenance = self.new_maintenance()
        return group.id

    def new_maintenance(self) -> Maintenance:
        return Maintenance(self.db, self.driver, self.group_id, controller=1)

    def path(self, disk: str) -> Path:
        return self.place / disk

    def rounds(self, count: int = 1) -> None:
        for _ in range(count):
            self.maintenance.round()

    def row(self, disk: str) -> Disk:
        with self.database.session(read_only=True) as session:
            return session.scalars(select(Disk).where(Disk.name == disk)).one()

    def disks_of(self, group: str = "rg1") -> list[str]:
        with self.database.session(read_only=True) as session:
            return [disk.name for disk in raid_groups.get(session, group).disks]

    def rg(self) -> RaidGroup:
        with self.database.session(read_only=True) as session:
            return session.get_one(RaidGroup, self.group_id)

    def set(self, disk: str, **columns: Any) -> None:
        with self.database.session() as session:
            row = session.scalars(select(Disk).where(Disk.name == disk)).one()
            for name, value in columns.items():
                setattr(row, name, value)

    def told(self) -> list[tuple[Severity, str, str]]:
        with self.database.session(read_only=True) as session:
            return [(event.severity, event.kind, event.subject) for event in session.scalars(select(Event))]

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.told()]

    def message(self, kind: str) -> str:
        with self.database.session(read_only=True) as session:
            return session.scalars(select(Event.message).where(Event.kind == kind)).one()


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)
