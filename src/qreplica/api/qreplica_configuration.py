"""The QReplica configuration, and the subsystem's time zone."""

from typing import Annotated

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, example
from qreplica.api.problems import problems
from qreplica.replication import configuration
from qreplica.replication.configuration import Configuration

router = administered("", "replication")

_CONFIGURATION = {
    "ratio": 2.0,
    "threshold": 50,
    "restart_after_failure": False,
    "check_minutes": 60,
    "progress_minutes": 15,
    "running_jobs": 16,
    "protect_superseded": False,
}
_ZONE = {"time_zone": "Europe/Berlin"}

Ratio = Annotated[float, Field(description="Snapshot space that a source VD without any gets, in sizes of the VD")]
Threshold = Annotated[
    int, Field(description="Percent of the snapshot space left after the last cycle's snapshot, from which a job runs")
]
Restart = Annotated[
    bool,
    Field(description="Clear a job's snapshots when the space runs out, and run it an hour later with a full copy"),
]
Minutes = Annotated[int, Field(description="Minutes between checks of the threshold")]
Progress = Annotated[int, Field(description="Minutes without progress after which a job at work is told of")]

Jobs = Annotated[int, Field(description="Jobs of the subsystem that may run at once; the others are queued")]
Protect = Annotated[
    bool, Field(description="Have hosts only read a source VD once its job learns that its copy was promoted")
]


class ConfigurationRequest(Strict):
    """What to set; all that is not given becomes the default."""

    model_config = example(_CONFIGURATION)
    ratio: Ratio = 2.0
    threshold: Threshold = 50
    restart_after_failure: Restart = False
    check_minutes: Minutes = 60
    progress_minutes: Progress = 15
    running_jobs: Jobs = 16
    protect_superseded: Protect = False


class ConfigurationAnswer(Answer):
    """The QReplica configuration."""

    model_config = example(_CONFIGURATION)
    ratio: Ratio
    threshold: Threshold
    restart_after_failure: Restart
    check_minutes: Minutes
    progress_minutes: Progress
    running_jobs: Jobs
    protect_superseded: Protect


class TimeZoneRequest(Strict):
    """A time zone."""

    model_config = example(_ZONE)
    time_zone: Annotated[str, Field(max_length=64, description="Of the IANA database, such as `Europe/Berlin`")]


class TimeZoneAnswer(Answer):
    """The subsystem's time zone, by which schedules and timetables go."""

    model_config = example(_ZONE)
    time_zone: str


@router.get("/qreplica/configuration", summary="Show the QReplica configuration", responses=problems())
def show_configuration(services: TheServices) -> ConfigurationAnswer:
    """Show the three settings of the QReplica configuration, when what is looked at, and how many jobs may run."""
    with services.database.session(read_only=True) as session:
        return ConfigurationAnswer.model_validate(configuration.get(session))


@router.put("/qreplica/configuration", summary="Set the QReplica configuration", responses=problems())
def put_configuration(request: ConfigurationRequest, services: TheServices) -> ConfigurationAnswer:
    """Set ratio, threshold and restart. Threshold and restart take effect for jobs that have a schedule only.

    Of jobs that run, none is stopped because there are more than may run at once: the next begins when there are fewer.
    """
    configuration.put(services.database, Configuration(**request.model_dump()))
    return show_configuration(services)


@router.get("/time-zone", summary="Show the time zone", responses=problems())
def show_time_zone(services: TheServices) -> TimeZoneAnswer:
    """Show the time zone by which schedules and bandwidth timetables go; UTC unless it was set."""
    with services.database.session(read_only=True) as session:
        return TimeZoneAnswer(time_zone=configuration.time_zone(session).key)


@router.put("/time-zone", summary="Set the time zone", responses=problems())
def put_time_zone(request: TimeZoneRequest, services: TheServices) -> TimeZoneAnswer:
    """Set the time zone. What would have been due by it before now is not made up for."""
    configuration.put_time_zone(services.database, request.time_zone)
    return show_time_zone(services)
