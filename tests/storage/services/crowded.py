"""A sold-out RG over an engine in memory that holds as much as a test says, and frees it when the test says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.state.models import Event, RaidGroup, Snapshot, SnapshotKind, VirtualDisk, now
from qreplica.storage import virtual_disks
from qreplica.storage.driver import DataUse, Reclaimed, SpaceUsed
from qreplica.storage.making_room import MakingRoom
from qreplica.storage.memory import MemoryDriver
from qreplica.storage.space_pressure import Limits
from qreplica.units import MIB

from .world import World


@dataclass
class Dying:
    """A deleted snapshot: what is freed with it, and after how many more times that the engine lets go."""

    vd: str
    size: int
    after: int


class Crowded(MemoryDriver):
    """VDs hold what ``held`` says, of which ``waste`` is for nothing; ``only`` is what a snapshot alone holds."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.held: dict[str, int] = {}
        self.miscounted: dict[str, int] = {}
        self.waste: dict[str, int] = {}
        self.only: dict[str, int] = {}
        self.failing: dict[str, QReplicaError] = {}
        self.slow_cleaner = 0
        self.dying: list[Dying] = []
        self.done: list[str] = []

    def data_use(self, group: str) -> DataUse:
        self._group(group)
        return DataUse(held=sum(self.held.values()), coming=0)

    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:
        size = self.vd_path(group, vd).stat().st_size
        total = self.held[vd] + (0 if settled else self.miscounted.get(vd, 0))
        return SpaceUsed(total, max(0, total - size))

    def allocated(self, group: str, vd: str) -> int:
        return self.vd_path(group, vd).stat().st_size

    def let_go(self, group: str) -> None:
        self._group(group)
        for one in self.dying:
            one.after -= 1
            if one.after < 0:
                self.held[one.vd] -= one.size
        self.dying = [one for one in self.dying if one.after >= 0]

    def freeing(self, group: str) -> bool:
        self._group(group)
        return bool(self.dying)

    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        if snapshot in self.only:
            self.done.append(f"delete {snapshot}")
            self.dying.append(Dying(vd, self.only.pop(snapshot), self.slow_cleaner))
        super().delete_snapshot(group, vd, snapshot)

    def reclaim(
        self, group: str, vd: str, *, start: int, budget: int, room: int, worth: float, seconds: float
    ) -> Reclaimed:
        super().reclaim(group, vd, start=start, budget=budget, room=room, worth=worth, seconds=seconds)
        self.done.append(f"reclaim {vd}")
        if vd in self.failing:
            raise self.failing[vd]
        freed = min(self.waste.get(vd, 0), budget)
        self.held[vd] -= freed
        self.waste[vd] = self.waste.get(vd, 0) - freed
        return Reclaimed(freed=freed, rewritten=freed, next=start if self.waste[vd] else None)


class CrowdedWorld(World):
    """An RG “rg1” of which all is promised: VD “small” with snapshot space, and “rest” with what is left."""

    storage: Crowded
    SIZE = SPACE = 32 * MIB

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.storage = Crowded(place / "groups")
        self.db = self.database
        self.driver: Any = self.storage
        self.group()
        with self.database.session(read_only=True) as session:
            group = session.scalars(select(RaidGroup)).one()
        self.rg = group.id
        self.limits = Limits.of(group.usable - group.reserve)
        self.small = self.sell("small", self.SIZE, self.SPACE)
        self.rest = self.sell("rest", self.free() // MIB * MIB)
        self.holds = 0
        self.holding = threading.Event()

    def sell(self, name: str, size: int, snapshot_space: int = 0) -> str:
        """Make a VD, written full, and return its id."""
        vd = self.vd(name, size)
        self.storage.held[vd] = size
        virtual_disks.set_snapshot_space(self.db, self.driver, name, snapshot_space)
        return vd

    def snapshot(self, vd: str, name: str, only: int, kind: SnapshotKind = SnapshotKind.MANUAL, age: int = 0) -> str:
        """Have a snapshot of a VD, ``age`` minutes old, that alone holds so much; its id is its name."""
        self.storage.take_snapshot(self.rg, vd, name)
        self.storage.only[name] = only
        self.storage.held[vd] += only
        with self.database.session() as session:
            size = session.get_one(VirtualDisk, vd).size
            taken_at = now() - timedelta(minutes=age)
            session.add(Snapshot(id=name, vd_id=vd, name=name, kind=kind, size=size, taken_at=taken_at))
        return name

    @property
    def room(self) -> int:
        return self.limits.room(self.storage.data_use(self.rg))

    @property
    def needed(self) -> int:
        """By how much a VD must exceed what it was promised for hosts to have to wait."""
        return self.limits.working - self.limits.hold_below + MIB

    def making(self) -> MakingRoom:
        return MakingRoom(self.db, self.driver, self.rg)

    def names(self) -> set[str]:
        with self.database.session(read_only=True) as session:
            return {one.name for one in session.scalars(select(Snapshot).where(Snapshot.taken_at.is_not(None)))}

    def events(self, kind: str) -> list[str]:
        with self.database.session(read_only=True) as session:
            return list(session.scalars(select(Event.message).where(Event.kind == kind)))

    @contextmanager
    def hold(self) -> Iterator[None]:
        self.holds += 1
        self.holding.set()
        try:
            yield
        finally:
            self.holding.clear()
