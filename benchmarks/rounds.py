"""Contenders take turns, so that whatever else the machine does meets all of them alike."""

import statistics
from collections.abc import Callable, Mapping

Run = Callable[[], float]
"""Does the work once and returns the seconds that it took."""


def interleave(
    contenders: Mapping[str, Run],
    rounds: int,
    tell: Callable[[str], None],
    *,
    before: Callable[[], None],
    each_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of each contender in each of ``rounds``; ``before`` makes the same state for every one.

    ``each_round`` makes the work of a round.

    One round more goes first, for all alike, and does not count. Every other round has the order reversed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        each_round()
        order = list(contenders.items())
        for name, run in order if number % 2 else reversed(order):
            before()
            took = run()
            tell(f"  {'warm-up' if number == 0 else f'round {number}'}: {name} {took:.3f} s")
            if number:
                seconds[name].append(took)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Return each contender's median."""
    return {name: statistics.median(each) for name, each in seconds.items()}
