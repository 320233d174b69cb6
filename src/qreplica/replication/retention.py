"""Which recovery points of a backup VD are kept, and by which rule. Pure: no disk, no clock.

Rules keep points each for itself; what none keeps may be let go. A *bucket* is an hour, day, ISO week or month on the
clock on the wall in the subsystem's time zone; where that goes back, the hour that it shows twice is two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from qreplica.replication.retention_errors import RetentionWrong

#: The most that a rule may keep.
MOST: Final = 1000
#: How a point's time says in which bucket of a kind it is.
_BUCKETS: Final[Mapping[str, Callable[[datetime], tuple[int, ...]]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour, at.fold),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The ``last`` newest points are kept, and the newest of each of the newest so many ``hourly``… buckets.

    Only buckets that hold a point count. ``last`` is 1 to MOST, the others 0 to MOST. Raises RetentionWrong.
    """

    last: int = 8
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.last <= MOST:
            raise RetentionWrong(reason=f"the newest {self.last} are not the newest 1 to {MOST}")
        for kind in _BUCKETS:
            if not 0 <= getattr(self, kind) <= MOST:
                raise RetentionWrong(reason=f"{getattr(self, kind)} {kind} ones are not 0 to {MOST}")


#: What holds for a backup VD until an administrator says otherwise.
DEFAULT: Final = Policy()


@dataclass(frozen=True, slots=True)
class Fact:
    """A recovery point; ``needed`` is one that a LUN shows, or a roll-back goes to."""

    id: str
    committed_at: datetime
    locked: bool = False
    needed: bool = False


def kept_by(oldest_first: Sequence[Fact], policy: Policy, zone: ZoneInfo) -> dict[str, list[str]]:
    """Return which rules keep each point, by its id: ``last``, ``hourly``…, and ``locked`` or ``in-use``.

    The newest is the last of the sequence, also where a clock that was set back says otherwise.
    """
    rules: dict[str, list[str]] = {point.id: [] for point in oldest_first}
    newest_first = list(reversed(oldest_first))
    for point in newest_first[: policy.last]:
        rules[point.id].append("last")
    for kind, bucket_of in _BUCKETS.items():
        seen: set[tuple[int, ...]] = set()
        for point in newest_first:
            bucket = bucket_of(point.committed_at.astimezone(zone))
            if bucket not in seen and len(seen) < getattr(policy, kind):
                seen.add(bucket)
                rules[point.id].append(kind)
    for point in oldest_first:
        if point.locked:
            rules[point.id].append("locked")
        if point.needed:
            rules[point.id].append("in-use")
    return rules


def to_let_go(oldest_first: Sequence[Fact], policy: Policy, zone: ZoneInfo) -> list[str]:
    """Return the ids of the points that no rule keeps, oldest first."""
    return [point for point, rules in kept_by(oldest_first, policy, zone).items() if not rules]


def expendable(oldest_first: Sequence[Fact]) -> list[str]:
    """Return the ids of the points that may go when there is no space for them, whatever the policy; oldest first.

    Never the newest, nor one that is locked or needed.
    """
    return [point.id for point in oldest_first[:-1] if not (point.locked or point.needed)]
