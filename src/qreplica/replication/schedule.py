"""When a job is due: by day, week or month at times of the day, or every so many minutes. Pure: no disk, no clock.

A schedule speaks of what the clock on the wall shows in the subsystem's time zone. Where that jumps ahead, a time that
it leaves out is due at the first instant after the jump, once. Where it goes back, a time of the day that it shows
twice is due the first time; what repeats every so many minutes goes on doing so.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule, rruleset

from qreplica.replication.schedule_errors import ScheduleWrong, TimeZoneUnknown
from qreplica.units import format_minutes

_DAY_MINUTES = 24 * 60
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
#: The shortest month, from which on a day may be lacking.
_SHORTEST_MONTH, _LONGEST_MONTH = 28, 31
_SUNDAY = 6
#: Days within which every kind of schedule has a time, and two more, as zones differ.
_LOOK_BACK = timedelta(days=_LONGEST_MONTH + 2)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Repeat(StrEnum):
    """Each day, on days of the week, on days of the month; or every so many minutes, counted from midnight."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job's schedule; what is given must be what its ``repeat`` asks for, in any order.

    ``times`` of the day are whole minutes. ``weekdays`` count from Monday, 0. A day of ``days`` (1 to 31) that a month
    lacks means its last one. ``minutes`` (1 to 1440) are counted from each midnight. Raises ScheduleWrong.
    """

    repeat: Repeat
    times: tuple[time, ...] = ()
    weekdays: tuple[int, ...] = ()
    days: tuple[int, ...] = ()
    minutes: int | None = None

    def __post_init__(self) -> None:
        for name in ("times", "weekdays", "days"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        self._check_fields()
        for one in self.times:
            if one.second or one.microsecond or one.tzinfo is not None:
                raise ScheduleWrong(reason=f"{one.isoformat()} is not hours and minutes, such as 02:30")
        for number in self.weekdays:
            if not 0 <= number <= _SUNDAY:
                raise ScheduleWrong(reason=f"{number} is no day of the week: Monday is 0 and Sunday 6")
        for number in self.days:
            if not 1 <= number <= _LONGEST_MONTH:
                raise ScheduleWrong(reason=f"{number} is no day of the month: give days from 1 to 31")
        if self.minutes is not None and not 1 <= self.minutes <= _DAY_MINUTES:
            raise ScheduleWrong(reason=f"every {self.minutes} minutes cannot be: give from 1 minute to 24 hours")

    def _check_fields(self) -> None:
        wanted = {
            Repeat.DAILY: {"times"},
            Repeat.WEEKLY: {"times", "weekdays"},
            Repeat.MONTHLY: {"times", "days"},
            Repeat.INTERVAL: {"minutes"},
        }[self.repeat]
        given = {name for name in ("times", "weekdays", "days") if getattr(self, name)}
        given |= {"minutes"} if self.minutes is not None else set()
        if lacking := sorted(wanted - given):
            raise ScheduleWrong(reason=f"{self.repeat} needs {' and '.join(lacking)}")
        if beyond := sorted(given - wanted):
            raise ScheduleWrong(reason=f"{self.repeat} goes without {' and '.join(beyond)}")


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of that name. Raises TimeZoneUnknown."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        # Nothing of that name; a directory; what leads out of the database.
        raise TimeZoneUnknown(name=name) from error


def next_run(schedule: Schedule, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first instant after ``after`` (aware) at which the schedule is due, in UTC."""
    days = _days(schedule, (after - 2 * _DAY).astimezone(zone).date())
    return min(_nearest(schedule, zone, days, lambda at: at > after))


def previous_due(schedule: Schedule, zone: ZoneInfo, at: datetime) -> datetime:
    """Return the last instant, ``at`` (aware) included, at which the schedule was due, in UTC."""
    local = at.astimezone(zone).date()
    until = itertools.takewhile(lambda day: day <= local + _DAY, _days(schedule, local - _LOOK_BACK))
    return max(_nearest(schedule, zone, reversed(list(until)), lambda due: due <= at))


def runs(schedule: Schedule, zone: ZoneInfo, after: datetime, count: int) -> list[datetime]:
    """Return the next so many instants at which the schedule is due."""
    found: list[datetime] = []
    for _ in range(count):
        found.append(next_run(schedule, zone, found[-1] if found else after))
    return found


def _nearest(
    schedule: Schedule, zone: ZoneInfo, days: Iterator[date], wanted: Callable[[datetime], bool]
) -> list[datetime]:
    """Return the wanted instants of the first of ``days`` that has one, and of the day next to it.

    Where a clock goes back over midnight, an instant of one day may lie beyond one of the next.
    """
    for day in days:
        found = [at for at in _instants(schedule, zone, day) if wanted(at)]
        if found:
            beside = next(days, None)
            return found + [at for at in (_instants(schedule, zone, beside) if beside else ()) if wanted(at)]
    raise AssertionError("every schedule is due within a month")


def _days(schedule: Schedule, first: date) -> Iterator[date]:
    """Yield the days on which the schedule is due, from ``first`` on."""
    start = datetime.combine(first, time())
    rules = rruleset()
    if schedule.repeat is Repeat.WEEKLY:
        rules.rrule(rrule(WEEKLY, dtstart=start, byweekday=schedule.weekdays))
    elif schedule.repeat is Repeat.MONTHLY:
        for day in schedule.days:
            # The last that there is of the shortest month's last day up to the day itself.
            candidates = range(min(day, _SHORTEST_MONTH), day + 1)
            rules.rrule(rrule(MONTHLY, dtstart=start, bymonthday=tuple(candidates), bysetpos=-1))
    else:
        rules.rrule(rrule(DAILY, dtstart=start))
    return (one.date() for one in rules)


@lru_cache(maxsize=256)
def _instants(schedule: Schedule, zone: ZoneInfo, day: date) -> list[datetime]:
    """Return the instants of a day, in UTC; they are asked for every second."""
    if schedule.minutes is None:
        # Times that differ in their fold alone are equal, so that one would be found in the cache for the other.
        return [_instant(datetime.combine(day, one.replace(fold=0), zone)) for one in schedule.times]
    begin = datetime.combine(day, time(), zone)
    walls = [begin + timedelta(minutes=past) for past in range(0, _DAY_MINUTES, schedule.minutes)]
    return sorted({_instant(wall.replace(fold=fold)) for wall in walls for fold in (0, 1)})


def _instant(wall: datetime) -> datetime:
    """Return when the clock shows ``wall``, or else the first instant after the jump that leaves it out."""
    at = wall.astimezone(UTC)
    if at.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return at
    # PEP 495: with fold 1 it is read by the offset after the jump, and lies before that; with fold 0 the opposite.
    before, after = wall.replace(fold=1).astimezone(UTC), wall.replace(fold=0).astimezone(UTC)
    offset = before.astimezone(wall.tzinfo).utcoffset()
    while after - before > _MINUTE:
        middle = before + (after - before) // _MINUTE // 2 * _MINUTE
        if middle.astimezone(wall.tzinfo).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def describe(schedule: Schedule) -> str:
    """Return the schedule for people, such as ``every Monday and Friday at 02:00 and 14:30``."""
    if schedule.minutes is not None:
        every = format_minutes(schedule.minutes)
        return f"every {every}, counted from midnight" if schedule.minutes < _DAY_MINUTES else "every day at 00:00"
    at = _listed([f"{one:%H:%M}" for one in schedule.times])
    if schedule.repeat is Repeat.WEEKLY:
        return f"every {_listed([_WEEKDAYS[day] for day in schedule.weekdays])} at {at}"
    if schedule.repeat is Repeat.MONTHLY:
        days = _listed([_ordinal(day) for day in schedule.days])
        lacking = ", or the month's last day where it has none such," if schedule.days[-1] > _SHORTEST_MONTH else ""
        return f"every month on the {days}{lacking} at {at}"
    return f"every day at {at}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(day: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th") if day not in {11, 12, 13} else "th"
    return f"{day}{ending}"
