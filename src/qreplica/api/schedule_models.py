"""What requests and answers about schedules and bandwidth limits are made of."""

from datetime import time
from typing import Annotated, Self

from pydantic import Field, PlainSerializer

from qreplica.api.fields import Answer, SizeIn, Strict, Time, example
from qreplica.replication.bandwidth import Bandwidth, Window
from qreplica.replication.schedule import Repeat, Schedule

_SCHEDULE = {"repeat": "weekly", "times": ["02:00", "14:30"], "weekdays": [0, 4]}
_WINDOW = {"weekdays": [0, 1, 2, 3, 4], "begin": "08:00", "end": "18:00", "limit": 10485760}

Clock = Annotated[
    time,
    PlainSerializer(lambda at: f"{at:%H:%M}", when_used="json"),
    Field(description="A time of the day in the subsystem's time zone, such as `02:30`"),
]
Weekdays = Annotated[tuple[int, ...], Field(max_length=7, description="Days of the week: 0 is Monday, 6 Sunday")]


class ScheduleFields(Strict):
    """What a schedule is made of."""

    model_config = example(_SCHEDULE)
    repeat: Repeat
    times: Annotated[tuple[Clock, ...], Field(max_length=1440, description="For all but `interval`")] = ()
    weekdays: Annotated[Weekdays, Field(description="For `weekly`: 0 is Monday, 6 Sunday")] = ()
    days: Annotated[
        tuple[int, ...],
        Field(max_length=31, description="For `monthly`: 1 to 31; one that a month lacks is its last day"),
    ] = ()
    minutes: Annotated[int | None, Field(description="For `interval`: 1 to 1440, counted from each midnight")] = None

    def schedule(self) -> Schedule:
        """Return the schedule. Raises ScheduleWrong."""
        return Schedule(self.repeat, self.times, self.weekdays, self.days, self.minutes)


class ScheduleRequest(ScheduleFields):
    """When a job is to run."""

    enabled: Annotated[bool, Field(description="Whether it is in force")] = True


class PreviewAnswer(Answer):
    """When a job would run by a schedule."""

    model_config = example(
        {
            "sentence": "every Monday and Friday at 02:00 and 14:30",
            "time_zone": "Europe/Berlin",
            "next_runs": ["2026-11-27T01:00:00.000Z", "2026-11-27T13:30:00.000Z"],
        }
    )
    sentence: Annotated[str, Field(description="It in words")]
    time_zone: str
    next_runs: Annotated[list[Time], Field(description="The next five times at which it would be due")]


class ScheduleAnswer(Answer):
    """A job's schedule."""

    model_config = example(
        {
            **_SCHEDULE,
            "days": [],
            "minutes": None,
            "enabled": True,
            "sentence": "every Monday and Friday at 02:00 and 14:30",
            "time_zone": "Europe/Berlin",
            "next_runs": ["2026-11-27T01:00:00.000Z", "2026-11-27T13:30:00.000Z"],
        }
    )
    repeat: Repeat
    times: tuple[Clock, ...]
    weekdays: tuple[int, ...]
    days: tuple[int, ...]
    minutes: int | None
    enabled: bool
    sentence: Annotated[str, Field(description="It in words")]
    time_zone: str
    next_runs: Annotated[list[Time], Field(description="The next five times at which it is due; none while it is off")]


class WindowFields(Strict):
    """A part of the week with a limit of its own."""

    model_config = example(_WINDOW)
    weekdays: Weekdays
    begin: Clock
    end: Annotated[Clock, Field(description="Before or at `begin`: on the next day")]
    limit: Annotated[SizeIn | None, Field(description="Bytes a second; null: as fast as it can")]


class BandwidthRequest(Strict):
    """How fast a job may send."""

    model_config = example({"limit": "50MiB", "windows": [{**_WINDOW, "limit": "10MiB"}]})
    limit: Annotated[SizeIn | None, Field(description="Bytes a second outside all windows; null: as fast as it can")]
    windows: Annotated[tuple[WindowFields, ...], Field(description="Where they overlap the lowest limit holds")] = ()

    def bandwidth(self) -> Bandwidth:
        """Return the limit. Raises BandwidthWrong."""
        windows = (Window(one.weekdays, one.begin, one.end, one.limit) for one in self.windows)
        return Bandwidth(self.limit, tuple(windows))


class WindowAnswer(Answer):
    """A part of the week with a limit of its own."""

    weekdays: tuple[int, ...]
    begin: Clock
    end: Clock
    limit: int | None


class BandwidthAnswer(Answer):
    """How fast a job may send."""

    model_config = example({"limit": 52428800, "windows": [_WINDOW], "at_present": 10485760})
    limit: Annotated[int | None, Field(description="Bytes a second outside all windows; null: as fast as it can")]
    windows: tuple[WindowAnswer, ...]
    at_present: Annotated[int | None, Field(description="The limit that holds now")]

    @classmethod
    def of(cls, bandwidth: Bandwidth, at_present: int | None) -> Self:
        """Return the answer that shows a limit."""
        windows = tuple(WindowAnswer.model_validate(one) for one in bandwidth.windows)
        return cls(limit=bandwidth.limit, windows=windows, at_present=at_present)
