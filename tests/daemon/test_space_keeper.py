"""The keeper of space: only under a lease, one RG's failure holds no other up, and what fails is told of once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.exc import NoResultFound

from qreplica.cluster.leases import Leases
from qreplica.daemon import space_keeper as module
from qreplica.daemon.space_keeper import SpaceKeeper
from qreplica.state.database import Database
from qreplica.state.models import Base, Disk, Event
from qreplica.state.types import Secret
from qreplica.storage import raid_groups
from qreplica.storage.driver import DataUse, GroupStatus, RaidLevel
from qreplica.storage.errors import GroupClosed, StorageCommandFailed
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

from .running import eventually

TABLE = Base.metadata.tables["maintenance_leases"]
Call = tuple[str, str]


class Looked(MemoryDriver):
    """Notes who is looked at, and fails where it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.looked: list[str] = []
        self.failing: dict[Call, Exception] = {}
        self.held = 0

    def data_use(self, group: str) -> DataUse:
        self.looked.append(group)
        self._strike("data_use", group)
        return DataUse(self.held, 0)

    def let_go(self, group: str) -> None:
        self._strike("let_go", group)

    def group_status(self, group: str) -> GroupStatus:
        self._strike("group_status", group)
        return super().group_status(group)

    def _strike(self, call: str, group: str) -> None:
        if error := self.failing.get((call, group)):
            raise error


class Subsystem:
    """RGs rg1 and rg2, the leases of a controller, and its keeper of space."""

    def __init__(self, place: Path) -> None:
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.database.upgrade()
        self.storage = Looked(place / "groups")
        self.place = place
        self.one, self.two = (self._group(name) for name in ("rg1", "rg2"))
        self.time = 0.0
        self.leases = Leases(self.database, TABLE, 1, takeover=5, clock=lambda: self.time)
        self.leases.keep([self.one, self.two])
        self.keeper = SpaceKeeper(self.database, self.storage, self.leases, self._hold)

    def _group(self, name: str) -> str:
        file = self.place / name
        with file.open("xb") as stream:
            stream.truncate(GIB)
        with self.database.session() as session:
            session.add(Disk(name=name, device=str(file), image=None, size=GIB))
        return raid_groups.create(self.database, self.storage, name=name, level=RaidLevel.JBOD, disks=[name]).id

    @contextmanager
    def _hold(self) -> Iterator[None]:
        yield

    def events(self) -> list[tuple[str, str]]:
        with self.database.session(read_only=True) as session:
            return [(event.kind, event.subject) for event in session.scalars(select(Event))]

    def round(self, count: int = 3) -> None:
        for _ in range(count):
            self.keeper.tidy()
            self.keeper.look()


@pytest.fixture
def subsystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subsystem]:
    monkeypatch.setattr(module, "_REST", 0.0)
    Secret.unlock(Fernet.generate_key())
    made = Subsystem(tmp_path)
    yield made
    made.keeper.stop()
    made.database.dispose()


def failures() -> list[Exception]:
    return [
        StorageCommandFailed(command="x", reason="y"),
        FileNotFoundError(2, "No such file or directory", "/sys/fs/btrfs"),
        NoResultFound("No row was found when one was required"),
    ]


@pytest.mark.parametrize("call", ["data_use", "group_status"])
@pytest.mark.parametrize("error", failures(), ids=lambda error: type(error).__name__)
def test_an_rg_that_fails_is_told_of_once_and_holds_no_other_up(
    subsystem: Subsystem, error: Exception, call: str
) -> None:
    subsystem.storage.failing[call, subsystem.one] = error
    subsystem.round()
    assert subsystem.storage.looked.count(subsystem.two) >= 6
    told = subsystem.events()
    # Once for each of what fails: to look, and to tidy.
    assert 1 <= len(told) <= 2
    assert set(told) == {(getattr(error, "kind", "space-not-kept"), "rg rg1")}
    subsystem.round()
    assert subsystem.events() == told
    subsystem.storage.failing[call, subsystem.one] = StorageCommandFailed(command="x", reason="another")
    subsystem.round()
    assert len(subsystem.events()) == 2 * len(told)


def test_what_fails_again_after_a_while_is_told_anew(subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch) -> None:
    subsystem.storage.failing["group_status", subsystem.one] = OSError(5, "Input/output error")
    subsystem.round()
    monkeypatch.setattr(module, "_QUIET", 0.0)
    subsystem.round(1)
    assert subsystem.events() == [("space-not-kept", "rg rg1")] * 2


def test_what_room_is_made_in_vain_for_is_told_and_ends_nothing(subsystem: Subsystem) -> None:
    subsystem.storage.held = GIB
    subsystem.storage.failing["let_go", subsystem.one] = OSError(5, "Input/output error")
    eventually(lambda: subsystem.round() or {subject for _, subject in subsystem.events()} == {"rg rg1", "rg rg2"})
    assert ("space-not-kept", "rg rg1") in subsystem.events()
    assert ("space-runs-out", "rg rg2") in subsystem.events()


def test_an_rg_that_was_closed_is_no_failure(subsystem: Subsystem) -> None:
    subsystem.storage.failing["data_use", subsystem.one] = GroupClosed(group="rg1")
    subsystem.round()
    assert subsystem.events() == []
    assert subsystem.storage.looked.count(subsystem.two) >= 6


def test_an_rg_that_failed_is_left_alone_for_a_while(subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REST", 600.0)
    subsystem.keeper.tidy()
    subsystem.storage.failing["data_use", subsystem.one] = OSError(5, "Input/output error")
    subsystem.keeper.look()
    looked = subsystem.storage.looked.count(subsystem.one)
    for _ in range(3):
        subsystem.keeper.look()
    assert subsystem.storage.looked.count(subsystem.one) == looked


def test_only_what_the_lease_is_held_of_is_kept(subsystem: Subsystem) -> None:
    subsystem.round(1)
    assert {*subsystem.storage.looked} == {subsystem.one, subsystem.two}
    subsystem.storage.looked.clear()
    subsystem.time += 5
    subsystem.keeper.look()
    subsystem.round()
    assert subsystem.storage.looked == []


def test_an_rg_that_is_deleted_is_forgotten(subsystem: Subsystem) -> None:
    subsystem.round(1)
    raid_groups.delete(subsystem.database, subsystem.storage, "rg1")
    subsystem.round()
    assert [*subsystem.keeper._keeping] == [subsystem.two]
    assert subsystem.events() == []


def test_the_thread_goes_on_through_failures(subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY", 0.01)
    ended: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    for number, error in enumerate(failures()):
        call = ("data_use", "group_status", "data_use")[number]
        subsystem.storage.failing[call, (subsystem.one, subsystem.two)[number % 2]] = error
    subsystem.keeper.start()
    _eventually_twice(lambda: subsystem.storage.looked.count(subsystem.one))
    subsystem.storage.failing.clear()
    _eventually_twice(lambda: subsystem.storage.looked.count(subsystem.two))
    subsystem.keeper.stop()
    subsystem.keeper.stop()
    assert ended == []
    assert not {"space"} & {thread.name for thread in threading.enumerate()}


def _eventually_twice(count: Callable[[], int]) -> None:
    """Wait until it was counted up twice more."""
    before = count()
    eventually(lambda: count() >= before + 2)


def test_a_database_that_is_away_ends_nothing(subsystem: Subsystem) -> None:
    subsystem.round(1)
    away = subsystem.place / "away.db"
    (subsystem.place / "state.db").rename(away)
    subsystem.database.dispose()
    (subsystem.place / "state.db").write_bytes(b"no database" * 1000)
    looked = len(subsystem.storage.looked)
    subsystem.round()
    assert len(subsystem.storage.looked) > looked
    subsystem.database.dispose()
    away.rename(subsystem.place / "state.db")


def test_it_may_be_stopped_before_it_began(subsystem: Subsystem) -> None:
    subsystem.keeper.stop()
    assert subsystem.events() == []
