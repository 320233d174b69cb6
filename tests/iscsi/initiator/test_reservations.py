"""Persistent reservations, session reinstatement and LUN resets, against a real tgtd; their encoding by itself."""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.iscsi.errors import CommandFailed, ReservationConflict, SessionLost
from qreplica.iscsi.initiator import Buffer, Chap, Session, commands
from qreplica.iscsi.initiator.reservations import (
    REGISTRANTS_ONLY,
    Capabilities,
    Holder,
    read_capabilities,
    read_keys,
    read_reservation,
)
from qreplica.units import MIB

from ..target.conftest import Freezable, freezable, until_writing  # noqa: F401, TID252 - a fixture
from .conftest import INITIATOR, IQN, Target, Tgtd

A, B, C = 0xA1, 0xB2, 0xC3
_KEYS = st.integers(0, 2**64 - 1)


@pytest.fixture
def two(target: Target) -> Iterator[tuple[Session, Session]]:
    """Two hosts that are logged in, and have met the disk."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session.connect(target.portal, IQN, f"{INITIATOR}-{n}")) for n in (1, 2)]
        for session in sessions:
            session.capacity(1)
        yield sessions[0], sessions[1]


def _refused(session: Session) -> None:
    """What the session writes changes nothing: first it may hear of the preemption, then it is a conflict."""
    with pytest.raises(CommandFailed):
        session.write(1, 0, b"x" * 512)
    with pytest.raises(ReservationConflict):
        session.write(1, 0, b"x" * 512)


@pytest.mark.root
def test_only_who_has_registered_may_write(two: tuple[Session, Session]) -> None:
    first, second = two
    here = first.reservations(1)
    assert here.capabilities() == Capabilities(registrants_only=True, through_power_loss=False)
    assert here.standing().keys == ()
    here.register(A)
    here.reserve(A)
    standing = second.reservations(1).standing()
    assert (standing.keys, standing.holder) == ((A,), Holder(A, REGISTRANTS_ONLY))
    with pytest.raises(ReservationConflict):
        second.write(1, 0, b"x" * 512)
    with pytest.raises(ReservationConflict):
        second.reservations(1).reserve(B)
    assert second.read(1, 0, 512) == bytes(512)
    second.reservations(1).register(B)
    second.write(1, 0, b"b" * 512)
    assert first.read(1, 0, 512) == b"b" * 512


@pytest.mark.root
def test_tgtd_lets_write_same_pass_a_reservation(two: tuple[Session, Session]) -> None:
    """Which no target may (SBC-3, "Reservations"): whatever is to be fenced on a foreign target goes by WRITE alone."""
    first, second = two
    first.write(1, 0, b"a" * 512)
    first.reservations(1).register(A)
    first.reservations(1).reserve(A)
    second.write_zeros(1, 0, 512)
    assert first.read(1, 0, 512) == bytes(512)


@pytest.mark.root
def test_of_two_who_succeed_the_same_one_only_one_does(two: tuple[Session, Session], target: Target) -> None:
    first, second = two
    first.reservations(1).register(A)
    first.reservations(1).reserve(A)
    with Session.connect(target.portal, IQN, f"{INITIATOR}-3") as third:
        for session, key in ((second, B), (third, C)):
            session.reservations(1).register(key)
        second.reservations(1).preempt(B, A)
        with pytest.raises(ReservationConflict):
            third.reservations(1).preempt(C, A)
        assert second.reservations(1).standing().holder == Holder(B, REGISTRANTS_ONLY)
        third.reservations(1).register(0, present=C)
    _refused(first)
    second.write(1, 0, b"b" * 512)
    assert target.file.read_bytes()[:512] == b"b" * 512


@pytest.mark.root
def test_tgtd_preempts_but_has_no_preempt_and_abort(two: tuple[Session, Session]) -> None:
    """Its source has the line commented out: what was queued is waited for by a reset of the LUN instead."""
    first, second = two
    first.reservations(1).register(A)
    first.reservations(1).reserve(A)
    second.reservations(1).register(B)
    assert second.reservations(1).preempt(B, A) is False
    assert second.reservations(1).standing().keys == (B,)


@pytest.mark.root
def test_a_reservation_outlives_its_session_and_can_be_given_back(two: tuple[Session, Session]) -> None:
    first, second = two
    first.reservations(1).register(A)
    first.reservations(1).reserve(A)
    first.logout()
    there = second.reservations(1)
    assert there.standing().holder == Holder(A, REGISTRANTS_ONLY)
    there.register_whatever(B)
    there.preempt(B, A)
    there.register(C, present=B)
    assert there.standing().holder == Holder(C, REGISTRANTS_ONLY)
    with pytest.raises(ReservationConflict):
        there.register(A, present=B)
    there.release(C)
    assert (there.standing().keys, there.standing().holder) == ((C,), None)
    there.clear(C)
    assert there.standing().keys == ()


@pytest.mark.root
def test_what_changes_registrations_is_counted(two: tuple[Session, Session]) -> None:
    first, second = two
    before = first.reservations(1).standing().generation
    second.reservations(1).register(B)
    second.reservations(1).register(0, present=B)
    standing = first.reservations(1).standing()
    assert standing.keys == ()
    assert standing.generation == before + 2


@pytest.mark.root
def test_a_login_with_the_same_isid_ends_the_session_before(target: Target) -> None:
    """tgtd does so (RFC 7143, 6.3.5) where the login has a security stage, which CHAP gives it."""
    chap = Chap("replica", "twelve-or-more")
    target.tgtd.add_account(1, chap.user, chap.secret)

    def log_in() -> Session:
        return Session.connect(target.portal, IQN, INITIATOR, chap=chap, isid=0x123456_789A)

    with log_in() as first:
        first.capacity(1)
        with log_in() as second:
            with pytest.raises(SessionLost):
                first.write(1, 0, b"x" * 512)
            second.write(1, 0, b"y" * 512)
    assert target.file.read_bytes()[:512] == b"y" * 512


@pytest.mark.root
def test_other_isids_end_nobody(target: Target) -> None:
    with (
        Session.connect(target.portal, IQN, INITIATOR, isid=0x123456_789A) as first,
        Session.connect(target.portal, IQN, INITIATOR, isid=0x123456_789B) as second,
    ):
        for session in (first, second):
            session.write(1, 0, b"x" * 512)


@pytest.mark.root
def test_a_reset_lun_is_met_anew(two: tuple[Session, Session]) -> None:
    first, second = two
    first.reset(1)
    first.write(1, 0, b"x" * 512)
    # The others hear of it.
    with pytest.raises(CommandFailed) as caught:
        second.write(1, 0, b"x" * 512)
    assert caught.value.asc_ascq >> 8 == 0x29
    second.write(1, 0, b"y" * 512)


@pytest.mark.root
def test_a_reset_waits_for_the_writes_that_cannot_be_ended(tgtd: Tgtd, freezable: Freezable) -> None:  # noqa: F811
    """What tgtd's threads have begun runs to its end; the reset is answered only then, so nothing comes after it."""
    file = freezable.mount / "disk"
    file.write_bytes(bytes(MIB))
    tgtd.add_node(1, IQN)
    tgtd.add_lun(1, 1, file)
    with (
        Session.connect(tgtd.portal, IQN, f"{INITIATOR}-1") as old,
        Session.connect(tgtd.portal, IQN, f"{INITIATOR}-2") as new,
        ThreadPoolExecutor(1) as pool,
    ):
        old.capacity(1)
        old.reservations(1).register(A)
        old.reservations(1).reserve(A)
        new.reservations(1).register(B)
        buffer = Buffer(4096)
        buffer.view[:] = b"o" * 4096
        freezable.freeze()
        old.submit_write(1, 1, 0, buffer, 4096)
        old.poll(0.01)
        until_writing(tgtd.process.pid)
        new.reservations(1).preempt(B, A)
        reset = pool.submit(new.reset, 1)
        with pytest.raises(TimeoutError):
            reset.result(0.5)
        freezable.thaw()
        reset.result()
        assert file.read_bytes()[:4096] == b"o" * 4096
        new.write(1, 0, b"n" * 4096)
    assert file.read_bytes()[:4096] == b"n" * 4096


@pytest.mark.root
def test_a_write_protected_disk_says_so(target: Target) -> None:
    target.tgtd.admin(
        *("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "2", "-b", str(target.file)),
    )
    target.tgtd.admin(
        *("--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "2", "--params", "readonly=1"),
    )
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        assert session.is_write_protected(2)
        assert not session.is_write_protected(1)
        assert (session.inquiry(0).device_type, session.inquiry(1).device_type) == (0x0C, 0)


@given(_KEYS, _KEYS, st.integers(0, 1))
def test_the_parameter_list_has_24_bytes(key: int, other: int, stays: int) -> None:
    made = commands.reserve_out_list(key, other, through_power_loss=stays == 1)
    assert len(made) == 24
    assert made == key.to_bytes(8, "big") + other.to_bytes(8, "big") + bytes(4) + bytes([stays]) + bytes(3)


@given(st.integers(0, 2**32 - 1), st.lists(_KEYS, max_size=20), st.integers(0, 200))
def test_keys_are_read_as_far_as_they_came(generation: int, keys: list[int], cut: int) -> None:
    data = struct.pack(f">II{len(keys)}Q", generation, 8 * len(keys), *keys)
    found = read_keys(data[: max(8, len(data) - cut)])
    assert found[0] == generation
    assert list(found[1]) == keys[: max(8, len(data) - cut) // 8 - 1]


@given(_KEYS, st.integers(0, 15))
def test_the_holder_is_read(key: int, kind: int) -> None:
    data = struct.pack(">IIQ4xxB2x", 7, 16, key, kind)
    assert read_reservation(data) == Holder(key, kind)
    assert read_reservation(struct.pack(">II", 7, 0)) is None


@given(st.binary(max_size=40))
def test_garbage_is_never_an_error(data: bytes) -> None:
    read_keys(data)
    read_reservation(data)
    read_capabilities(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("00080081ea010000", Capabilities(registrants_only=True, through_power_loss=True)),
        ("00080080c0010000", Capabilities(registrants_only=False, through_power_loss=False)),
        ("00080000ea010000", Capabilities(registrants_only=False, through_power_loss=False)),
        ("", Capabilities(registrants_only=False, through_power_loss=False)),
    ],
)
def test_capabilities_are_read(data: str, expected: Capabilities) -> None:
    assert read_capabilities(bytes.fromhex(data)) == expected
