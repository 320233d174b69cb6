"""Who holds a disk, against targets of each kind that SPC-4 allows, with another owner coming in at every step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.iscsi.errors import CommandFailed, ReservationConflict
from qreplica.iscsi.initiator.reservations import REGISTRANTS_ONLY, Holder, Standing
from qreplica.replication.errors import StaleOwner
from qreplica.replication.plain_errors import FenceLost, PlainTargetReserved, PlainTargetUndrained
from qreplica.replication.plain_fence import Held, Owner, check, let_go, take
from qreplica.replication.plain_keys import epoch_of, isid_of, key_of

JOB = "1" * 32
STRANGER = 0xABC


def _error(kind: type[CommandFailed]) -> CommandFailed:
    return kind(operation="x", lun=1, node="iqn.x", portal="p", sense="refused")


@dataclass
class Target:
    """A LUN's registrations by I_T nexus (SPC-4, 5.12).

    ``aborts``: it has PREEMPT AND ABORT; ``resets``: it has LOGICAL UNIT RESET. ``queued`` is whose commands wait.
    """

    aborts: bool = True
    resets: bool = True
    generation: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    holder: str | None = None
    queued: set[str] = field(default_factory=set)
    calls: int = 0
    at: int | None = None
    what: Callable[[], None] = lambda: None

    def step(self) -> None:
        """Count a command; before that of number ``at`` something else happens, once."""
        self.calls += 1
        if self.calls - 1 == self.at:
            self.what()


@dataclass
class Port:
    """A session by one nexus, as much of it as a fence needs."""

    target: Target
    nexus: str

    def reservations(self, lun: int) -> "Port":
        assert lun == 1
        return self

    def standing(self) -> Standing:
        # Two commands, between which anything may happen.
        self.target.step()
        generation, keys = self.target.generation, tuple(self.target.keys.values())
        self.target.step()
        holder = self.target.holder
        return Standing(
            generation, keys, None if holder is None else Holder(self.target.keys[holder], REGISTRANTS_ONLY)
        )

    def register_whatever(self, key: int, *, through_power_loss: bool = False) -> None:
        assert not through_power_loss
        self.target.step()
        self.target.generation += 1
        self.target.keys[self.nexus] = key

    def reserve(self, key: int) -> None:
        self.target.step()
        self._registered(key)
        if self.target.holder not in {None, self.nexus}:
            raise _error(ReservationConflict)
        self.target.holder = self.nexus

    def preempt(self, key: int, other: int) -> bool:
        self.target.step()
        self._registered(key)
        gone = [nexus for nexus, one in self.target.keys.items() if one == other]
        if not gone:
            raise _error(ReservationConflict)
        self.target.generation += 1
        for nexus in gone:
            del self.target.keys[nexus]
            if self.target.aborts:
                self.target.queued.discard(nexus)
        if self.target.holder in gone:
            self.target.holder = self.nexus
        return self.target.aborts

    def clear(self, key: int) -> None:
        self.target.step()
        self._registered(key)
        self.target.keys.clear()
        self.target.holder = None

    def reset(self, lun: int) -> None:
        assert lun == 1
        self.target.step()
        if not self.target.resets:
            raise _error(CommandFailed)
        self.target.queued.clear()

    def _registered(self, key: int) -> None:
        if self.target.keys.get(self.nexus) != key:
            raise _error(ReservationConflict)

    def may_write(self) -> bool:
        return self.target.holder is None or self.nexus in self.target.keys


def owner(epoch: int) -> Owner:
    return Owner(JOB, "nightly", epoch, "naa.6", "iqn.x", 1)


def take_by(port: Port, epoch: int, held: Held | None = None, *, anew: bool = False) -> Held:
    session: Any = port
    return take(session, owner(epoch), held, anew=anew, through_power_loss=False)


@pytest.mark.parametrize("aborts", [True, False])
def test_one_after_the_other_has_the_disk(aborts: bool) -> None:  # noqa: FBT001 - a parameter
    target = Target(aborts)
    held = None
    before: Port | None = None
    for epoch in (1, 2, 5):
        port = Port(target, f"port-{epoch}")
        held = take_by(port, epoch, held)
        assert target.holder == port.nexus
        assert list(target.keys.values()) == [key_of(JOB, epoch)]
        assert not target.queued
        if before is not None:
            assert not before.may_write()
        before = port
        target.queued.add(port.nexus)


def test_a_target_that_takes_a_later_session_for_the_same_port_is_no_exception() -> None:
    target = Target()
    port = Port(target, "the-port")
    held = take_by(port, 1)
    held = take_by(port, 2, held)
    assert list(target.keys.values()) == [key_of(JOB, 2)]
    with pytest.raises(StaleOwner):
        take_by(port, 1, held)


@pytest.mark.parametrize("aborts", [True, False])
@pytest.mark.parametrize("same_port", [True, False])
@pytest.mark.parametrize("at", range(14))
def test_a_later_owner_at_any_step_is_the_one_who_writes(
    at: int,
    aborts: bool,  # noqa: FBT001 - a parameter
    same_port: bool,  # noqa: FBT001 - a parameter
) -> None:
    """The earlier one sleeps before any of its commands, wakes after the later one is done, and cannot write.

    As the same port its session is ended by the later login: there every further command fails.
    """
    target = Target(aborts)
    held = take_by(Port(target, "port-1"), 1)
    sleeper, later = Port(target, "port-2"), Port(target, "port-2" if same_port else "port-3")
    taken: list[Held] = []

    class Ended(Exception):
        """The target has ended the session."""

    def come() -> None:
        taken.append(take_by(later, 3, held))
        if same_port:
            raise Ended

    target.at, target.what = target.calls + at, come
    try:
        take_by(sleeper, 2, held)
    except (StaleOwner, FenceLost, Ended):
        assert taken
    else:
        # It had the disk before the later one came, and has not now.
        if not taken:
            target.at = None
            taken.append(take_by(later, 3))
        assert same_port or not sleeper.may_write()
    assert target.holder == later.nexus
    check(later, owner(3))  # type: ignore[arg-type] # as much of a session as is asked
    assert target.keys[later.nexus] == key_of(JOB, 3)
    # Whoever of the earlier ones is registered still is one that gave up before it wrote.
    assert not Port(target, "port-1").may_write()
    assert take_by(Port(target, "port-4"), 4, taken[0]).epoch == 4
    assert list(target.keys.values()) == [key_of(JOB, 4)]


def test_a_stranger_is_never_pushed_aside() -> None:
    target = Target()
    stranger = Port(target, "stranger")
    stranger.register_whatever(STRANGER)
    with pytest.raises(PlainTargetReserved, match="0x0000000000000abc"):
        take_by(Port(target, "port"), 1)
    stranger.reserve(STRANGER)
    with pytest.raises(PlainTargetReserved):
        take_by(Port(target, "port"), 1, anew=True)
    assert target.keys == {"stranger": STRANGER}


def test_a_reservation_that_is_gone_or_was_changed_stops_the_job_until_the_administrators_word() -> None:
    target = Target()
    held = take_by(Port(target, "port-1"), 1)
    stranger = Port(target, "stranger")
    stranger.register_whatever(STRANGER)
    del target.keys["stranger"]
    with pytest.raises(FenceLost, match="another host registered"):
        take_by(Port(target, "port-2"), 2, held)
    target.keys.clear()
    target.holder = None
    with pytest.raises(FenceLost, match="its reservation is gone"):
        take_by(Port(target, "port-2"), 2, held)
    target.queued.add("port-1")
    take_by(Port(target, "port-2"), 2, held, anew=True)
    assert not target.queued


def test_a_reservation_that_outlived_the_targets_power_is_good() -> None:
    target = Target()
    held = take_by(Port(target, "port-1"), 1)
    target.generation = 0
    assert take_by(Port(target, "port-2"), 2, held).epoch == 2


def test_one_whose_note_was_cut_off_is_believed_by_its_key() -> None:
    """It took the disk with epoch 2 and died before that was noted: the generation that is noted is the one of 1."""
    target = Target()
    held = take_by(Port(target, "port-1"), 1)
    take_by(Port(target, "port-2"), 2, held)
    assert take_by(Port(target, "port-3"), 3, held).epoch == 3


def test_a_target_that_can_end_no_commands_is_not_written() -> None:
    target = Target(aborts=False, resets=False)
    held = take_by(Port(target, "port-1"), 1)
    with pytest.raises(PlainTargetUndrained):
        take_by(Port(target, "port-2"), 2, held)


def test_letting_go_leaves_nothing_and_nobody_elses_alone() -> None:
    target = Target()
    take_by(Port(target, "port-1"), 1)
    session: Any = Port(target, "port-2")
    let_go(session, owner(2))
    assert (target.keys, target.holder) == ({}, None)
    Port(target, "stranger").register_whatever(STRANGER)
    let_go(session, owner(3))
    assert target.keys == {"stranger": STRANGER}


@given(st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_a_key_tells_job_and_epoch(job: str, epoch: int) -> None:
    key = key_of(job, epoch)
    assert 0 < key < 2**64
    assert key >> 56 == ord("Q")
    assert epoch_of(job, key) == epoch
    assert epoch_of(job, key ^ 1 << 40) is None
    assert 0 <= isid_of(job) < 2**40
