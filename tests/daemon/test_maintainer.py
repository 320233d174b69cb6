"""The maintainer: only under a lease, one RG's failure holds no other up, and what fails is told of once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from qreplica.cluster.leases import Lease, Leases
from qreplica.daemon import maintainer as module
from qreplica.daemon.lease_keeper import LeaseKeeper
from qreplica.daemon.maintainer import Maintainer, Step
from qreplica.errors import QReplicaError
from qreplica.state.database import Database
from qreplica.state.models import Base, Disk, Event, MaintenanceLease, RaidGroup
from qreplica.state.types import Secret
from qreplica.storage import raid_groups
from qreplica.storage.driver import RaidLevel, StorageDriver
from qreplica.storage.errors import GroupFailed, GroupFull, StorageCommandFailed
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

from .running import eventually

TABLE = Base.metadata.tables["maintenance_leases"]


class Tended(MemoryDriver):
    """Counts who is tended, and fails where it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tended: list[str] = []
        self.failing: dict[str, QReplicaError] = {}

    def tend_group(self, group: str, spare: int | None = None) -> None:
        super().tend_group(group, spare)
        self.tended.append(group)
        if group in self.failing:
            raise self.failing[group]


class Subsystem:
    """RGs rg1 and rg2, two controllers' leases, and a maintainer of controller 1."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.database.upgrade()
        self.storage = Tended(place / "groups")
        self.ids = {name: self._group(name) for name in ("rg1", "rg2")}
        self.time = 0.0
        self.leases, self.others = (
            Leases(self.database, TABLE, number, takeover=5, clock=lambda: self.time) for number in (1, 2)
        )
        self.opened = 0

    def _group(self, name: str) -> str:
        with self.database.session() as session:
            for disk in (f"{name}-a", f"{name}-b"):
                file = self.place / disk
                with file.open("xb") as stream:
                    stream.truncate(GIB)
                session.add(Disk(name=disk, device=str(file), image=None, size=GIB))
        disks = [f"{name}-a", f"{name}-b"]
        return raid_groups.create(self.database, self.storage, name=name, level=RaidLevel.RAID1, disks=disks).id

    def maintainer(self, *steps: Step) -> Maintainer:
        def opened() -> None:
            self.opened += 1

        return Maintainer(self.database, self.storage, self.leases, 1, steps=steps, opened=opened)

    def events(self) -> list[tuple[str, str, int | None]]:
        with self.database.session(read_only=True) as session:
            return [(event.kind, event.subject, event.controller) for event in session.scalars(select(Event))]

    def hand_over(self) -> None:
        """Have the other controller take everything, as from one that was stopped."""
        self.others.keep(self.ids.values())
        self.time += 5
        assert len(self.others.keep(self.ids.values())) == 2


@pytest.fixture
def subsystem(tmp_path: Path) -> Iterator[Subsystem]:
    Secret.unlock(Fernet.generate_key())
    made = Subsystem(tmp_path)
    yield made
    made.database.dispose()


def test_only_what_is_held_is_maintained(subsystem: Subsystem) -> None:
    maintainer = subsystem.maintainer()
    maintainer.round()
    assert subsystem.storage.tended == []
    subsystem.leases.keep([subsystem.ids["rg2"]])
    maintainer.round()
    assert subsystem.storage.tended == [subsystem.ids["rg2"]]
    subsystem.leases.keep(subsystem.ids.values())
    maintainer.round()
    assert sorted(subsystem.storage.tended[1:]) == sorted(subsystem.ids.values())


def test_of_two_controllers_one_maintains_an_rg_and_the_other_goes_on_when_it_is_stopped(
    subsystem: Subsystem,
) -> None:
    one = subsystem.maintainer()
    two = Maintainer(subsystem.database, subsystem.storage, subsystem.others, 2, steps=(), opened=lambda: None)
    subsystem.leases.keep(subsystem.ids.values())
    two.round()
    assert subsystem.storage.tended == []
    subsystem.hand_over()
    one.round()
    assert subsystem.storage.tended == []
    two.round()
    assert len(subsystem.storage.tended) == 2


def test_steps_are_called_in_their_order_for_each_rg(subsystem: Subsystem) -> None:
    called: list[tuple[str, str]] = []

    def step(name: str) -> Step:
        def run(db: Database, driver: StorageDriver, group: str) -> None:
            with db.session() as session:
                called.append((name, session.get_one(RaidGroup, group).name))
            assert driver is subsystem.storage

        return run

    subsystem.leases.keep(subsystem.ids.values())
    subsystem.maintainer(step("reclaim"), step("snapshots")).round()
    assert called == [(name, group) for group in ("rg1", "rg2") for name in ("reclaim", "snapshots")]


def test_a_step_under_a_lost_lease_changes_nothing_and_is_no_failure(subsystem: Subsystem) -> None:
    def late(db: Database, _: StorageDriver, group: str) -> None:
        subsystem.hand_over()
        with db.session() as session:
            session.get_one(RaidGroup, group).name = "by-the-stale-one"

    never: list[str] = []
    subsystem.leases.keep(subsystem.ids.values())
    subsystem.maintainer(late, lambda _, __, group: never.append(group)).round()
    with subsystem.database.session(read_only=True) as session:
        assert [group.name for group in raid_groups.listing(session)] == ["rg1", "rg2"]
    assert never == []
    assert subsystem.events() == []


def test_one_failure_holds_nothing_else_up_and_is_told_once_until_it_changes(subsystem: Subsystem) -> None:
    called: list[str] = []
    first = subsystem.ids["rg1"]
    subsystem.storage.failing[first] = StorageCommandFailed(command="x", reason="y")
    subsystem.leases.keep(subsystem.ids.values())
    maintainer = subsystem.maintainer(lambda _, __, group: called.append(group))
    maintainer.round()
    maintainer.round()
    assert subsystem.events() == [("storage-command-failed", "rg rg1", 1)]
    assert called == [*subsystem.ids.values()] * 2
    subsystem.storage.failing[first] = GroupFull(group="rg1", operation="z")
    maintainer.round()
    assert [kind for kind, _, _ in subsystem.events()] == ["storage-command-failed", "group-full"]
    del subsystem.storage.failing[first]
    maintainer.round()
    subsystem.storage.failing[first] = GroupFull(group="rg1", operation="z")
    maintainer.round()
    assert [kind for kind, _, _ in subsystem.events()] == ["storage-command-failed", "group-full", "group-full"]


def test_a_failing_step_holds_no_other_up(subsystem: Subsystem) -> None:
    called: list[str] = []

    def fails(*_: object) -> None:
        raise GroupFailed(group="x", reason="y")

    subsystem.leases.keep(subsystem.ids.values())
    subsystem.maintainer(fails, lambda _, __, group: called.append(group)).round()
    assert called == [*subsystem.ids.values()]
    assert subsystem.events() == [("group-failed", "rg rg1", 1), ("group-failed", "rg rg2", 1)]


def test_what_is_no_expected_failure_ends_the_part(subsystem: Subsystem) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    subsystem.leases.keep(subsystem.ids.values())
    with pytest.raises(ZeroDivisionError):
        subsystem.maintainer(broken).round()


def test_a_closed_rg_is_opened_and_the_rest_is_told(subsystem: Subsystem) -> None:
    subsystem.storage.close_group(subsystem.ids["rg1"])
    subsystem.leases.keep(subsystem.ids.values())
    subsystem.maintainer().round()
    assert subsystem.opened == 1
    assert subsystem.events() == [("rg-opened", "rg rg1", 1)]
    assert subsystem.ids["rg1"] in subsystem.storage.tended


def test_a_closed_rg_whose_disks_are_away_is_told_of_once_and_not_tended(subsystem: Subsystem) -> None:
    subsystem.storage.close_group(subsystem.ids["rg1"])
    for disk in ("rg1-a", "rg1-b"):
        (subsystem.place / disk).unlink()
    called: list[str] = []
    subsystem.leases.keep(subsystem.ids.values())
    maintainer = subsystem.maintainer(lambda _, __, group: called.append(group))
    maintainer.round()
    maintainer.round()
    assert subsystem.events() == [("group-failed", "rg rg1", 1)]
    assert called == [subsystem.ids["rg2"]] * 2
    assert subsystem.opened == 0


def test_an_rg_that_is_deleted_is_forgotten(subsystem: Subsystem) -> None:
    maintainer = subsystem.maintainer()
    subsystem.leases.keep(maintainer.groups())
    maintainer.round()
    raid_groups.delete(subsystem.database, subsystem.storage, "rg1")
    with subsystem.database.session(read_only=True) as session:
        assert session.get(MaintenanceLease, subsystem.ids["rg1"]) is None
    subsystem.leases.keep(maintainer.groups())
    maintainer.round()
    assert list(maintainer._maintenance) == [subsystem.ids["rg2"]]
    assert subsystem.events() == []


def test_the_threads_take_maintain_and_give_up(subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 600)
    leases = Leases(subsystem.database, TABLE, 1, takeover=600)
    maintainer = Maintainer(subsystem.database, subsystem.storage, leases, 1, steps=(), opened=lambda: None)
    taken: list[Lease] = []

    def note(lease: Lease) -> None:
        taken.append(lease)
        maintainer.taken(lease)

    keeper = LeaseKeeper(leases, maintainer.groups, 0.01, note)
    maintainer.start()
    keeper.start()
    eventually(lambda: set(subsystem.storage.tended) == set(subsystem.ids.values()))
    eventually(lambda: all(lease.renewals > 2 for lease in rows(subsystem)))
    maintainer.stop()
    maintainer.stop()
    keeper.stop()
    keeper.stop()
    assert sorted(lease.key for lease in taken) == sorted(subsystem.ids.values())
    assert [lease.controller for lease in rows(subsystem)] == [0, 0]
    assert not {"leases", "maintenance"} & {thread.name for thread in threading.enumerate()}


def rows(subsystem: Subsystem) -> list[MaintenanceLease]:
    with subsystem.database.session(read_only=True) as session:
        return list(session.scalars(select(MaintenanceLease)))


def test_parts_may_be_stopped_before_they_began(subsystem: Subsystem) -> None:
    maintainer = subsystem.maintainer()
    maintainer.stop()
    LeaseKeeper(subsystem.leases, maintainer.groups, 1, maintainer.taken).stop()
    assert rows(subsystem) == []
