"""When a replication job runs by itself and how fast, and its pauses."""

from typing import Annotated

from fastapi import Query

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.job_models import JobAnswer
from qreplica.api.jobs import show_job
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.api.schedule_models import (
    BandwidthAnswer,
    BandwidthRequest,
    PreviewAnswer,
    ScheduleAnswer,
    ScheduleFields,
    ScheduleRequest,
)
from qreplica.replication import bandwidth, configuration, planning
from qreplica.replication.schedule import describe, runs
from qreplica.replication.schedule_errors import NoSchedule
from qreplica.state.models import now

router = administered("/jobs/{name}", "replication", changes=Role.OPERATOR)

_SHOWN = 5


@router.get("/schedule", summary="Show a job's schedule", responses=problems(404))
def show_schedule(name: str, services: TheServices) -> ScheduleAnswer:
    """Show by which schedule a job runs, in words too, and the next five times at which it is due."""
    with services.database.session(read_only=True) as session:
        plan, zone = planning.get(session, name), configuration.time_zone(session)
    schedule = plan.schedule
    if schedule is None:
        raise NoSchedule(job=name)
    return ScheduleAnswer(
        repeat=schedule.repeat,
        times=schedule.times,
        weekdays=schedule.weekdays,
        days=schedule.days,
        minutes=schedule.minutes,
        enabled=plan.enabled,
        sentence=describe(schedule),
        time_zone=zone.key,
        next_runs=runs(schedule, zone, now(), _SHOWN) if plan.enabled else [],
    )


@router.get("/schedule/preview", summary="Preview a schedule", responses=problems(404))
def preview_schedule(name: str, wanted: Annotated[ScheduleFields, Query()], services: TheServices) -> PreviewAnswer:
    """Tell when a job would run by a schedule, which is not saved: in words, and the next five times."""
    schedule = wanted.schedule()
    with services.database.session(read_only=True) as session:
        planning.get(session, name)  # there must be such a job
        zone = configuration.time_zone(session)
    return PreviewAnswer(sentence=describe(schedule), time_zone=zone.key, next_runs=runs(schedule, zone, now(), _SHOWN))


@router.put("/schedule", summary="Schedule a job", dependencies=LICENSED, responses=problems(403, 404))
def put_schedule(name: str, request: ScheduleRequest, services: TheServices) -> ScheduleAnswer:
    """Have a job run by day, by week, by month or every so many minutes, in the subsystem's time zone.

    Times that pass while no controller runs, and those that pass while the job is at work, make one run. A time that a
    change of the clocks leaves out is due right after it; one that there is twice is due once.
    """
    planning.set_schedule(services.database, name, request.schedule(), enabled=request.enabled)
    return show_schedule(name, services)


@router.delete("/schedule", summary="Unschedule a job", status_code=204, responses=problems(404))
def delete_schedule(name: str, services: TheServices) -> None:
    """Have a job run only when it is started. Does nothing where there is no schedule."""
    planning.delete_schedule(services.database, name)


@router.get("/bandwidth", summary="Show a job's bandwidth limit", responses=problems(404))
def show_bandwidth(name: str, services: TheServices) -> BandwidthAnswer:
    """Show how fast a job may send, and which limit holds at present."""
    with services.database.session(read_only=True) as session:
        found = planning.get(session, name).bandwidth
        return BandwidthAnswer.of(found, bandwidth.limit_at(found, configuration.time_zone(session), now()))


@router.put("/bandwidth", summary="Limit a job's bandwidth", responses=problems(404))
def put_bandwidth(name: str, request: BandwidthRequest, services: TheServices) -> BandwidthAnswer:
    """Limit what a job sends, with windows of the week that have limits of their own; at least 64 KiB a second.

    It holds for a running cycle too, within about a second.
    """
    planning.set_bandwidth(services.database, name, request.bandwidth())
    return show_bandwidth(name, services)


@router.delete("/bandwidth", summary="Lift a job's bandwidth limit", status_code=204, responses=problems(404))
def delete_bandwidth(name: str, services: TheServices) -> None:
    """Have a job send as fast as it can."""
    planning.set_bandwidth(services.database, name, bandwidth.Bandwidth())


@router.post("/pause", summary="Pause a job", status_code=202, responses=problems(404))
def pause_job(name: str, services: TheServices) -> JobAnswer:
    """Have a job begin nothing, by schedule or otherwise, until it is resumed; a running cycle keeps what it sent."""
    planning.pause(services.database, name)
    services.workers.wake()
    return show_job(name, services)


@router.post("/resume", summary="Resume a job", status_code=202, dependencies=LICENSED, responses=problems(403, 404))
def resume_job(name: str, services: TheServices) -> JobAnswer:
    """End a pause: the cycle that it interrupted goes on from its checkpoint. What was due meanwhile is not made up."""
    planning.resume(services.database, name)
    services.workers.wake()
    return show_job(name, services)
