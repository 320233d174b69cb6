"""A subsystem's state and a memory driver, either of which can fail, or die, at any call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.state.database import Database
from qreplica.state.models import Base, Disk
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.capacity import MINIMUM_DISK
from qreplica.storage.driver import RaidLevel
from qreplica.storage.memory import MemoryDriver
from qreplica.storage.startup import open_storage
from qreplica.units import MIB


class Crash(BaseException):
    """The daemon dies here. Not an Exception, so that nothing handles it."""


class Mortal:
    """Stands before something; may fail once before or after a method, and does nothing more once it is dead."""

    def __init__(self, real: Any, fate: "Fate") -> None:
        self._real = real
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            self._fate.strike(f"before {name}")
            result = attribute(*arguments, **named)
            self._fate.strike(f"after {name}")
            return result

        return call


class MortalDatabase:
    """The same for a database: its one call is a session, and ``commit`` is what may fail."""

    def __init__(self, real: Database, fate: "Fate") -> None:
        self._real = real
        self._fate = fate

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        self._fate.strike("session")
        with self._real.session(read_only=read_only) as session:
            yield session
            if not read_only:
                session.flush()
                self._fate.strike("before commit")
        if not read_only:
            self._fate.strike("after commit")


@dataclass
class Fate:
    """What happens at which place: ``places`` maps one to the exception raised there, once unless it is a Crash."""

    places: dict[str, BaseException] = field(default_factory=dict)
    #: How many commits go well before the place named ``… commit`` counts.
    commits: int = 0
    dead: bool = False

    def strike(self, place: str) -> None:
        if self.dead:
            raise Crash
        if place.endswith("commit") and place in self.places and self.commits > 0:
            self.commits -= 1
            return
        error = self.places.pop(place, None)
        if error is not None:
            self.dead = isinstance(error, Crash)
            raise error


class World:
    """``db`` and ``driver`` are what services are given; ``database`` and ``storage`` the real ones behind."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.storage = MemoryDriver(place / "groups")
        self.fate = Fate()
        self.db: Any = MortalDatabase(self.database, self.fate)
        self.driver: Any = Mortal(self.storage, self.fate)

    def restart(self) -> None:
        """End the daemon, if it lives, and start it anew: what it knew of open RGs is gone."""
        self.storage = MemoryDriver(self.place / "groups")
        self.fate = Fate()
        self.db, self.driver = MortalDatabase(self.database, self.fate), Mortal(self.storage, self.fate)
        open_storage(self.database, self.storage)

    def disk(self, name: str, size: int = MINIMUM_DISK) -> str:
        """Make a disk of a sparse file, which is all that the memory driver asks for."""
        file = self.place / name
        with file.open("wb") as stream:
            stream.truncate(size)
        with self.database.session() as session:
            session.add(Disk(name=name, device=str(file), image=None, size=size))
        return name

    def group(self, name: str = "rg1", size: int = 1024 * MIB) -> str:
        disk = self.disk(f"{name}-disk", size)
        raid_groups.create(self.db, self.driver, name=name, level=RaidLevel.JBOD, disks=[disk])
        return name

    def vd(self, name: str = "v1", size: int = 4 * MIB, **facts: Any) -> str:
        """Make a VD, and return its id."""
        return virtual_disks.create(self.db, self.driver, name=name, raid_group="rg1", size=size, **facts).id

    def free(self, group: str = "rg1") -> int:
        with self.database.session(read_only=True) as session:
            return raid_groups.space(session, raid_groups.get(session, group)).free

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table, except events."""
        with self.database.session(read_only=True) as session:
            return {
                table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
                for table in Base.metadata.sorted_tables
                if table.name != "events"
            }

    def files(self) -> list[tuple[str, int]]:
        """Return what the driver holds: each file below its directory and beside the disks, with its size."""
        places = [path for path in sorted(self.place.rglob("*")) if path.is_file() and "state.db" not in path.name]
        return [(str(path.relative_to(self.place)), path.stat().st_size) for path in places]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that neither state nor storage is changed by the block."""
        before = self.state(), self.files()
        yield
        assert (self.state(), self.files()) == before
