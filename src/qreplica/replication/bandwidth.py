"""How fast a job may send, by a timetable in the subsystem's time zone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from qreplica.replication.schedule_errors import BandwidthWrong
from qreplica.units import KIB, format_rate, format_size

#: Less than this (bytes a second) would leave a path silent for longer than a path that works may be.
LEAST = 64 * KIB
_MOST_WINDOWS = 64
_SUNDAY = 6


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the week with a limit of its own, in bytes a second; None: as fast as it can.

    It begins at ``begin`` on each of ``weekdays`` (Monday is 0) and lasts until the clock next shows ``end``: past
    midnight, and up to a whole day when both are the same.
    """

    weekdays: tuple[int, ...]
    begin: time
    end: time
    limit: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weekdays", tuple(sorted(set(self.weekdays))))
        if not self.weekdays or not all(0 <= day <= _SUNDAY for day in self.weekdays):
            raise BandwidthWrong(reason="a window needs days of the week, from 0 (Monday) to 6 (Sunday)")
        for one in (self.begin, self.end):
            if one.second or one.microsecond or one.tzinfo is not None:
                raise BandwidthWrong(reason=f"{one.isoformat()} is not hours and minutes, such as 08:30")
        _check(self.limit)

    def contains(self, wall: datetime) -> bool:
        """Tell whether the time of a clock on the wall lies within it."""
        at, day = wall.time(), wall.weekday()
        if self.begin < self.end:
            return day in self.weekdays and self.begin <= at < self.end
        before = (wall - timedelta(days=1)).weekday()
        return (day in self.weekdays and at >= self.begin) or (before in self.weekdays and at < self.end)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a job may send in bytes a second, None for as fast as it can; within a window, what that one says."""

    limit: int | None = None
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        _check(self.limit)
        if len(self.windows) > _MOST_WINDOWS:
            raise BandwidthWrong(reason=f"{len(self.windows)} windows are more than {_MOST_WINDOWS}")


def _check(limit: int | None) -> None:
    if limit is not None and limit < LEAST:
        raise BandwidthWrong(reason=f"{format_rate(limit)} is less than {format_rate(LEAST)}")


def limit_at(bandwidth: Bandwidth, zone: ZoneInfo, at: datetime) -> int | None:
    """Return the limit at an instant (aware); where windows overlap, the lowest of theirs."""
    wall = at.astimezone(zone)
    limits = [window.limit for window in bandwidth.windows if window.contains(wall)]
    return _lowest(limits) if limits else bandwidth.limit


def _lowest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def describe(limit: int | None) -> str:
    """Return a limit for people."""
    return "no limit" if limit is None else f"{format_size(limit)}/s"
