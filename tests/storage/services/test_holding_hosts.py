"""Hosts wait while room is made, no longer than is said, and not in vain."""

import threading
from collections.abc import Iterator

import pytest

from qreplica.storage import making_room, raid_groups, virtual_disks
from qreplica.storage import space_keeping as module
from qreplica.storage.driver import SpaceUsed
from qreplica.storage.errors import GroupClosed, StorageCommandFailed
from qreplica.storage.space_keeping import SpaceKeeping
from qreplica.storage.space_pressure import NEWS, Pressure
from qreplica.units import MIB

from ..failing_disks import eventually  # noqa: TID252 - the storage tests' own
from .crowded import CrowdedWorld

#: Until a test says so, or so long that the test has failed (seconds).
_FOR_EVER = 60.0


@pytest.fixture
def keeping(crowded: CrowdedWorld) -> Iterator[SpaceKeeping]:
    made = SpaceKeeping(crowded.db, crowded.driver, crowded.rg, crowded.hold)
    yield made
    made.close()


class Slow:
    """Stands before a call of the engine, and lets it through when the test says so."""

    def __init__(self, world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.go_on, self.begun = threading.Event(), threading.Event()
        real = getattr(world.storage, name)

        def call(*arguments: object, **named: object) -> object:
            self.begun.set()
            assert self.go_on.wait(_FOR_EVER)
            return real(*arguments, **named)

        monkeypatch.setattr(world.storage, name, call)


@pytest.mark.parametrize("call", ["let_go", "reclaim", "space_used", "delete_snapshot"])
def test_hosts_wait_no_longer_than_is_said_whatever_the_engine_takes(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(module, "_LONGEST_HOLD", 0.05)
    crowded.snapshot(crowded.small, "old", crowded.SPACE + crowded.needed)
    slow = _slow_settled(crowded, monkeypatch) if call == "space_used" else Slow(crowded, monkeypatch, call)
    eventually(lambda: keeping.look() and slow.begun.is_set())
    holds = crowded.holds
    assert keeping.look()
    # The engine is still at it, and hosts go on; they wait for the same work the next time.
    assert not slow.go_on.is_set()
    assert (crowded.holds, crowded.holding.is_set()) == (holds + 1, False)
    assert keeping.tidy() is Pressure.HOLD
    slow.go_on.set()
    eventually(lambda: not keeping.look())
    assert crowded.names() == set()
    assert crowded.storage.done.count("delete old") == 1


def test_hosts_wait_longer_when_hardly_any_room_is_left(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_HOLD", 0.0)
    monkeypatch.setattr(module, "_LONGEST_IN_NEED", _FOR_EVER)
    too_much = crowded.SPACE + crowded.limits.working - MIB
    crowded.storage.held[crowded.rest] += too_much
    crowded.storage.waste[crowded.rest] = too_much
    slow = Slow(crowded, monkeypatch, "reclaim")
    looking = threading.Thread(target=keeping.look)
    looking.start()
    assert slow.begun.wait(_FOR_EVER)
    assert crowded.holding.wait(_FOR_EVER)
    slow.go_on.set()
    looking.join()
    assert crowded.room >= crowded.limits.let_go_on
    assert crowded.holds == 1


def _slow_settled(world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Let only that be slow which settles the count."""
    quick = world.storage.space_used
    slow = Slow(world, monkeypatch, "space_used")
    settling = world.storage.space_used

    def call(group: str, vd: str, *, settled: bool = True) -> SpaceUsed:
        return settling(group, vd) if settled else quick(group, vd, settled=False)

    monkeypatch.setattr(world.storage, "space_used", call)
    return slow


def test_hosts_wait_while_room_is_made_and_go_on_when_there_is_some(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_HOLD", _FOR_EVER)
    too_much = crowded.SPACE + crowded.needed
    crowded.storage.held[crowded.rest] += too_much
    crowded.storage.waste[crowded.rest] = too_much
    real = crowded.storage.reclaim

    def reclaim(*arguments: object, **named: object) -> object:
        assert crowded.holding.wait(_FOR_EVER)
        return real(*arguments, **named)  # type: ignore[arg-type] # handed on

    monkeypatch.setattr(crowded.storage, "reclaim", reclaim)
    keeping.look()
    assert crowded.room >= crowded.limits.let_go_on
    assert crowded.holds == 1
    keeping.look()
    assert crowded.holds == 1


def test_hosts_do_not_wait_when_nothing_can_be_done(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_room, "_HOPELESS", 600.0)
    crowded.storage.held[crowded.rest] += crowded.SPACE + crowded.needed
    eventually(lambda: keeping.look() and keeping._making.is_hopeless)
    holds = crowded.holds
    for _ in range(3):
        assert keeping.look()
    assert crowded.holds == holds


def test_what_fails_meanwhile_is_raised_and_ends_the_hold(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_HOLD", _FOR_EVER)
    crowded.storage.held[crowded.rest] += crowded.SPACE + crowded.needed

    def fails(_: str) -> None:
        raise StorageCommandFailed(command="sync", reason="Input/output error")

    monkeypatch.setattr(crowded.storage, "let_go", fails)
    for _ in range(2):
        with pytest.raises(StorageCommandFailed, match="Input/output error"):
            keeping.look()
        assert not crowded.holding.is_set()


def test_in_the_background_hosts_do_not_wait(crowded: CrowdedWorld, keeping: SpaceKeeping) -> None:
    crowded.storage.held[crowded.small] += crowded.SPACE + 4 * NEWS
    crowded.storage.held[crowded.rest] += 4 * NEWS
    crowded.storage.waste[crowded.rest] = 4 * NEWS
    while crowded.room - MIB >= crowded.limits.working * 0.75:
        crowded.storage.held[crowded.small] += MIB
    assert crowded.room >= crowded.limits.hold_below
    assert keeping.tidy() is Pressure.RECLAIM

    def given_back() -> bool:
        keeping.tidy()
        return crowded.storage.waste[crowded.rest] == 0

    eventually(given_back)
    assert crowded.holds == 0


def test_an_rg_that_is_deleted_is_left_alone(crowded: CrowdedWorld, keeping: SpaceKeeping) -> None:
    for name in ("small", "rest"):
        virtual_disks.delete(crowded.db, crowded.driver, name)
    raid_groups.delete(crowded.db, crowded.driver, "rg1")
    assert not keeping.look()
    assert keeping.tidy() is Pressure.NONE
    assert crowded.holds == 0


def test_a_closed_rg_is_told_as_such(crowded: CrowdedWorld, keeping: SpaceKeeping) -> None:
    crowded.storage.close_group(crowded.rg)
    with pytest.raises(GroupClosed):
        keeping.look()


def test_it_may_be_ended_while_the_engine_is_at_it(
    crowded: CrowdedWorld, keeping: SpaceKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_HOLD", 0.05)
    crowded.storage.held[crowded.rest] += crowded.SPACE + crowded.needed
    slow = Slow(crowded, monkeypatch, "let_go")
    keeping.look()
    keeping.close(patiently=False)
    assert not slow.go_on.is_set()
    slow.go_on.set()
    keeping.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        keeping._begin("tidy", keeping._making.in_background, crowded.limits)
