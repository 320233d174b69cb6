"""The QReplica configuration of the white paper, and the subsystem's time zone."""

import math
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication.schedule import zone_of
from qreplica.replication.schedule_errors import ConfigurationWrong
from qreplica.state.database import Database
from qreplica.state.models import Severity, now
from qreplica.state.schedule_models import JobPlan, QReplicaSettings

_ONE_ROW = 1
_LEAST_RATIO, _MOST_RATIO, _MOST_THRESHOLD, _MOST_MINUTES = 0.1, 100.0, 99, 24 * 60
_MOST_JOBS = 256


@dataclass(frozen=True, slots=True)
class Configuration:
    """``ratio`` of automatic snapshot space to a source VD's size; ``threshold`` in percent of what is left of it.

    The threshold is checked every ``check_minutes``. It and ``restart_after_failure`` are for jobs with a schedule. A
    job at work that makes no progress for ``progress_minutes`` is told of. At most ``running_jobs`` of the subsystem
    run at once, the others wait in a queue. 16 of them keep two processors busy, and their workers' memory below 2 GiB;
    more would only share the same. With ``protect_superseded`` hosts can only read a source VD once its job learns that
    its copy was promoted. Raises ConfigurationWrong.
    """

    ratio: float = 2.0
    threshold: int = 50
    restart_after_failure: bool = False
    check_minutes: int = 60
    progress_minutes: int = 15
    running_jobs: int = 16
    protect_superseded: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and _LEAST_RATIO <= self.ratio <= _MOST_RATIO):
            raise ConfigurationWrong(reason=f"a ratio of {self.ratio:g} to 1 is not from 0.1 to 1 up to 100 to 1")
        if not 1 <= self.threshold <= _MOST_THRESHOLD:
            raise ConfigurationWrong(reason=f"a threshold of {self.threshold} % is not from 1 to 99 %")
        if not 1 <= self.check_minutes <= _MOST_MINUTES:
            raise ConfigurationWrong(
                reason=f"a check every {self.check_minutes} minutes is not from 1 minute to 24 hours"
            )
        if not 1 <= self.progress_minutes <= _MOST_MINUTES:
            raise ConfigurationWrong(
                reason=f"{self.progress_minutes} minutes without progress are not from 1 minute to 24 hours"
            )
        if not 1 <= self.running_jobs <= _MOST_JOBS:
            raise ConfigurationWrong(reason=f"{self.running_jobs} jobs at once are not from 1 to {_MOST_JOBS}")


def get(session: Session) -> Configuration:
    """Return the configuration, that of the white paper unless it was changed."""
    row = session.get(QReplicaSettings, _ONE_ROW)
    if row is None:
        return Configuration()
    return Configuration(
        row.ratio,
        row.threshold,
        row.restart_after_failure,
        row.check_minutes,
        row.progress_minutes,
        row.running_jobs,
        row.protect_superseded,
    )


def put(database: Database, configuration: Configuration) -> None:
    """Have another configuration from now on. Idempotent."""
    with database.session() as session:
        row = _row(session)
        row.ratio, row.threshold = configuration.ratio, configuration.threshold
        row.restart_after_failure, row.check_minutes = configuration.restart_after_failure, configuration.check_minutes
        row.progress_minutes, row.running_jobs = configuration.progress_minutes, configuration.running_jobs
        row.protect_superseded = configuration.protect_superseded
        protect = "can only be read" if configuration.protect_superseded else "can be written"
        restart = "restart an hour later if failed" if configuration.restart_after_failure else "no restart if failed"
        message = (
            f"Snapshot space is {configuration.ratio:g} to 1 now, threshold {configuration.threshold} % (checked every "
            f"{configuration.check_minutes} min), {restart}; of a job without progress is told after "
            f"{configuration.progress_minutes} min; {configuration.running_jobs} jobs may run at once; a source VD "
            f"whose copy was promoted {protect}."
        )
        log.record(session, Severity.INFO, "configuration-changed", "qreplica", message)


def time_zone(session: Session) -> ZoneInfo:
    """Return the subsystem's time zone, UTC unless it was set."""
    row = session.get(QReplicaSettings, _ONE_ROW)
    return zone_of(row.time_zone if row else "UTC")


def put_time_zone(database: Database, name: str) -> None:
    """Have schedules and timetables go by another time zone; what would have been due by it before now is not.

    Idempotent. Raises TimeZoneUnknown.
    """
    zone_of(name)
    with database.session() as session:
        row = _row(session)
        if row.time_zone == name:
            return
        row.time_zone = name
        for plan in session.query(JobPlan):
            plan.considered_to = now()
        log.record(session, Severity.INFO, "time-zone-changed", "subsystem", f"Schedules go by {name} now.")


def _row(session: Session) -> QReplicaSettings:
    row = session.get(QReplicaSettings, _ONE_ROW)
    if row is None:
        row = QReplicaSettings(id=_ONE_ROW)
        session.add(row)
        session.flush()
    return row
