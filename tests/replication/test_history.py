"""What charts show of the past is what the runs did."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.replication.history import Run, lags, rates

BEGIN = datetime(2026, 11, 3, tzinfo=UTC)
SPAN = timedelta(minutes=15)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def run(begun: float, ended: float, sent: int = 0, *, job: str = "one", point: bool = True) -> Run:
    return Run(job, at(begun), at(ended), sent, at(begun) if point else None)


def test_what_a_run_sent_is_spread_over_the_spans_in_which_it_ran() -> None:
    found = rates([run(10, 40, 3000)], BEGIN, SPAN, 4)
    assert found == pytest.approx([500 / 900, 1500 / 900, 1000 / 900, 0.0])


def test_of_a_run_that_began_before_or_goes_on_only_what_lies_within_counts() -> None:
    found = rates([run(-30, 30, 600), run(45, 90, 450)], BEGIN, SPAN, 4)
    assert found == pytest.approx([150 / 900, 150 / 900, 0.0, 150 / 900])


def test_a_run_that_took_no_time_by_a_clock_that_was_set_back_counts_where_it_ended() -> None:
    assert rates([run(20, 10, 900)], BEGIN, SPAN, 2) == [1.0, 0.0]
    assert rates([run(20, 20, 900)], BEGIN, SPAN, 2) == [0.0, 1.0]
    assert rates([run(31, 31, 900)], BEGIN, SPAN, 2) == [0.0, 0.0]


@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 60), st.integers(0, 10**12)).map(
            lambda one: run(min(one[:2]), max(one[:2]), one[2])
        )
    )
)
def test_nothing_is_lost_or_counted_twice(runs: list[Run]) -> None:
    found = rates(runs, BEGIN, SPAN, 5)
    assert sum(found) * SPAN.total_seconds() == pytest.approx(sum(one.sent for one in runs), rel=1e-6, abs=1e-3)


def test_the_lag_grows_until_a_run_makes_a_point_and_is_then_the_age_of_that() -> None:
    moments = [at(15), at(30), at(45)]
    assert lags([run(10, 20)], {}, moments) == [None, 20 * 60, 35 * 60]
    assert lags([run(10, 20)], {"one": at(-30)}, moments) == [45 * 60, 20 * 60, 35 * 60]
    # One that was given up, or is not at its end, makes none.
    assert lags([run(10, 20, point=False)], {"one": at(-30)}, moments) == [45 * 60, 60 * 60, 75 * 60]


def test_the_worst_of_several_jobs_is_shown() -> None:
    runs = [run(0, 5, job="one"), run(10, 20, job="one"), run(28, 29, job="two")]
    assert lags(runs, {"three": at(29)}, [at(15), at(30)]) == [15 * 60, 20 * 60]
