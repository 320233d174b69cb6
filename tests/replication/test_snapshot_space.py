"""The threshold of the white paper."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.replication.snapshot_space import automatic, trigger_level
from qreplica.units import GIB


def test_half_of_what_is_left_is_half_then_three_quarters_then_seven_eighths() -> None:
    levels, used = [], 0
    for _ in range(3):
        used = trigger_level(8 * GIB, used, 50)
        levels.append(100 * used / (8 * GIB))
    assert levels == [50, 75, 87.5]


def test_what_is_given_back_counts_at_the_next_snapshot() -> None:
    assert trigger_level(1000, 100, 50) == 550
    assert trigger_level(1000, 0, 50) == 500


@pytest.mark.parametrize(("used", "threshold", "level"), [(0, 1, 10), (0, 99, 990), (990, 50, 995), (999, 50, 1000)])
def test_edges(used: int, threshold: int, level: int) -> None:
    assert trigger_level(1000, used, threshold) == level


@settings(deadline=None)
@given(space=st.integers(0, 1 << 50), used=st.integers(0, 1 << 50), threshold=st.integers(1, 99))
def test_it_lies_beyond_what_was_used_and_within_the_space(space: int, used: int, threshold: int) -> None:
    level = trigger_level(space, used, threshold)
    assert min(used, space) <= level <= space
    assert used >= space or level > used


def test_the_automatic_space_is_a_multiple_of_the_size() -> None:
    assert automatic(3 * GIB, 2) == 6 * GIB
    assert automatic(GIB, 0.5) == GIB // 2
