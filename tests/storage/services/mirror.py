"""A subsystem's state over an engine whose disks fail as a test says, and rounds of maintenance in it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from qreplica.state.models import Disk, Event, RaidGroup, Severity
from qreplica.storage import raid_groups
from qreplica.storage.driver import RaidLevel
from qreplica.storage.maintenance import Maintenance
from qreplica.units import GIB

from .engine import Engine
from .world import Fate, Mortal, MortalDatabase, World


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
