"""When an RG must get space back."""

from hypothesis import given
from hypothesis import strategies as st

from qreplica.storage.driver import DataUse
from qreplica.storage.space_pressure import Limits, Pressure, VdUse, judge, slice_budget
from qreplica.units import GIB, MIB

LIMITS = Limits.of(16 * GIB)


def vd(*, size: int = 8 * GIB, space: int = 0, written: int = 0, held: int | None = None) -> VdUse:
    return VdUse("v", size, space, written, written if held is None else held)


def test_a_vd_owes_what_it_has_not_used_of_its_promise() -> None:
    assert vd(written=3 * GIB).owed == 5 * GIB
    assert vd(space=2 * GIB, written=8 * GIB, held=9 * GIB).owed == GIB
    assert vd(space=2 * GIB, written=8 * GIB, held=11 * GIB).owed == 0
    assert vd(space=2 * GIB, written=8 * GIB, held=11 * GIB).overdrawn == GIB


def test_an_rg_that_can_keep_its_promises_is_left_alone() -> None:
    assert judge(LIMITS, LIMITS.limit - 9 * GIB, [vd(written=8 * GIB, held=9 * GIB)]) is Pressure.NONE


def test_what_is_owed_counts_as_taken() -> None:
    promised = [vd(written=8 * GIB, held=8 * GIB + 400 * MIB), vd(written=GIB)]
    assert judge(LIMITS, LIMITS.limit - 9 * GIB - 400 * MIB, promised) is Pressure.RECLAIM


def test_hosts_wait_before_there_is_no_room() -> None:
    assert judge(LIMITS, LIMITS.hold_below - 1, []) is Pressure.HOLD
    assert judge(LIMITS, LIMITS.hold_below, []) is not Pressure.HOLD


def test_what_can_be_spared_makes_no_host_wait() -> None:
    use = DataUse(held=10 * GIB, coming=GIB)
    spare = LIMITS.spare(use)
    assert LIMITS.room(DataUse(use.held + spare, use.coming)) == LIMITS.hold_below
    assert LIMITS.spare(DataUse(held=LIMITS.limit, coming=0)) == 0


@given(st.integers(0, 1 << 50))
def test_limits_leave_room_to_act_in(promisable: int) -> None:
    limits = Limits.of(promisable)
    assert limits.limit == promisable + limits.working
    assert 0 <= limits.hold_below <= limits.let_go_on <= max(1, limits.working)
    assert limits.hold_below <= limits.begin_below <= limits.working


@given(st.integers(0, 17 * GIB), st.integers(0, 17 * GIB))
def test_the_less_room_the_more_is_rewritten(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert slice_budget(LIMITS, less) >= slice_budget(LIMITS, more) > 0
