"""The mean holds, whatever is sent in which pieces, and follows a change at once."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.replication.throttle import Throttle
from qreplica.units import KIB, MIB


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def send(throttle: Throttle, clock: Clock, seconds: float, sizes: list[int]) -> int:
    """Send as fast as it may for so long; return the bytes."""
    end, sent = clock.now + seconds, 0
    while True:
        pause = throttle.pause()
        if clock.now + pause >= end:
            clock.now = end
            return sent
        if pause:
            # Whoever waits may be woken before, and looks again.
            clock.now = max(clock.now + min(pause, 0.25), math.nextafter(clock.now, math.inf))
            continue
        size = sizes[sent % len(sizes)]
        throttle.sent(size)
        sent += size


@settings(deadline=None, max_examples=40)
@given(
    limit=st.integers(64 * KIB, 1 << 31),
    sizes=st.lists(st.integers(4 * KIB, 256 * KIB), min_size=1, max_size=7),
)
def test_the_mean_is_the_limit(limit: int, sizes: list[int]) -> None:
    clock = Clock()
    throttle = Throttle(limit, clock)
    seconds = 2000 * max(sizes) / limit
    sent = send(throttle, clock, seconds, sizes)
    assert abs(sent - limit * seconds) <= 0.01 * limit * seconds


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    throttle = Throttle(None, clock)
    for _ in range(1000):
        assert throttle.pause() == 0
        throttle.sent(MIB)


def test_what_was_not_sent_in_a_silence_is_not_made_up_for() -> None:
    clock = Clock()
    throttle = Throttle(MIB, clock)
    clock.now += 3600
    assert send(throttle, clock, 10.0, [256 * KIB]) <= 10.5 * MIB


def test_another_limit_holds_from_now_on() -> None:
    clock = Clock()
    throttle = Throttle(MIB, clock)
    assert abs(send(throttle, clock, 10.0, [64 * KIB]) - 10 * MIB) <= MIB // 4
    throttle.set(20 * MIB)
    assert abs(send(throttle, clock, 10.0, [64 * KIB]) - 200 * MIB) <= 3 * MIB
    throttle.set(MIB)
    assert abs(send(throttle, clock, 10.0, [64 * KIB]) - 10 * MIB) <= MIB // 4
    throttle.set(None)
    assert throttle.pause() == 0
    throttle.sent(1 << 40)
    throttle.set(MIB)
    assert throttle.pause() == 0


def test_a_debt_is_paid_off_at_the_new_limit() -> None:
    clock = Clock()
    throttle = Throttle(64 * KIB, clock)
    throttle.sent(64 * MIB)
    assert throttle.pause() == 1024
    throttle.set(MIB)
    assert throttle.pause() == 64


def test_the_mean_holds_where_the_target_is_slow_now_and_then() -> None:
    """What it could not send is lost, and never more than the limit goes."""
    clock, chance = Clock(), random.Random(1)
    throttle = Throttle(MIB, clock)
    begin, sent = clock.now, 0
    for _ in range(2000):
        clock.now += throttle.pause() + chance.random() * 0.2
        throttle.sent(64 * KIB)
        sent += 64 * KIB
        assert sent <= (clock.now - begin) * MIB * 1.01 + 0.2 * MIB
