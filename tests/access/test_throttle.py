import pytest

from qreplica.access import throttle as module
from qreplica.access.errors import TooManyFailures
from qreplica.access.throttle import FREE_FAILURES, LONGEST_WAIT, Throttle


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def wait_of(throttle: Throttle, name: str) -> int:
    with pytest.raises(TooManyFailures) as raised:
        throttle.check(name)
    seconds: int = raised.value.fields["retry_after"]
    return seconds


def test_mistyping_costs_nothing(throttle: Throttle) -> None:
    for _ in range(FREE_FAILURES):
        throttle.failed("admin")
    throttle.check("admin")


def test_each_further_failure_doubles_the_wait_up_to_the_longest(throttle: Throttle, clock: Clock) -> None:
    for _ in range(FREE_FAILURES):
        throttle.failed("admin")
    waits = []
    for _ in range(40):
        throttle.failed("admin")
        waits.append(wait_of(throttle, "admin") - 1)
        clock.time += LONGEST_WAIT
        throttle.check("admin")
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[7:]) == {LONGEST_WAIT}


def test_success_forgets_and_names_do_not_slow_each_other(throttle: Throttle) -> None:
    for _ in range(FREE_FAILURES + 1):
        throttle.failed("admin")
    throttle.check("other")
    wait_of(throttle, "admin")
    throttle.succeeded("admin")
    throttle.check("admin")


def test_the_memory_for_names_is_bounded(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES", 3)
    for _ in range(FREE_FAILURES + 1):
        throttle.failed("first")
    for name in ("second", "third", "fourth"):
        throttle.failed(name)
    throttle.check("first")
