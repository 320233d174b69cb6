"""Verification of a job's copy, by digests that each side works out of what its own disks hold."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Size, SizeIn, Strict, Time, example
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.replication import jobs, verification
from qreplica.state.verification_models import Verification, VerificationState
from qreplica.units import MIB

router = administered("/jobs/{name}/verification", "replication", changes=Role.OPERATOR)

_SHOWN = 100


class VerificationRequest(Strict):
    """How fast it may read."""

    model_config = example({"limit": "100MiB"})
    limit: Annotated[SizeIn | None, Field(ge=MIB, description="Bytes a second on each side; null: no limit")] = None


class VerificationScheduleRequest(Strict):
    """How often one begins by itself."""

    model_config = example({"days": 7})
    days: Annotated[int | None, Field(description="Days from begin to begin; null: by hand only")]


class DifferingRange(Answer):
    """Bytes that differ."""

    offset: Annotated[int, Field(description="Byte of the virtual disk")]
    length: Size


class VerificationAnswer(Answer):
    """The last verification of a job's copy, or the one that runs."""

    model_config = example(
        {
            "state": "differs",
            "every_days": 7,
            "next_at": "2026-12-08T02:00:00.000Z",
            "limit": None,
            "position": 2147483648,
            "size": 2147483648,
            "percent": 100.0,
            "rate": 0.0,
            "eta_seconds": None,
            "first_generation": 41,
            "generation": 42,
            "differing_bytes": 8192,
            "differing_ranges": 2,
            "differing": [{"offset": 4096, "length": 4096}, {"offset": 1048576, "length": 4096}],
            "repair": False,
            "started_at": "2026-12-01T02:00:00.000Z",
            "finished_at": "2026-12-01T02:00:09.000Z",
            "error": None,
        }
    )
    state: VerificationState
    every_days: Annotated[int | None, Field(description="Days from begin to begin; null: by hand only")]
    next_at: Annotated[Time | None, Field(description="When one begins by itself")]
    limit: Annotated[int | None, Field(description="Bytes a second that each side may read; null: no limit")]
    position: Annotated[Size, Field(description="Bytes that are compared")]
    size: Annotated[Size, Field(description="Bytes that there are; 0 until it is known")]
    percent: float
    rate: Annotated[float, Field(description="Bytes a second, at present")]
    eta_seconds: Annotated[float | None, Field(description="Seconds that it will take at this rate")]
    first_generation: Annotated[int | None, Field(description="Of which its first bytes were compared")]
    generation: Annotated[int | None, Field(description="Of which its last bytes were compared")]
    differing_bytes: Size
    differing_ranges: Annotated[int, Field(description="How many there are")]
    differing: Annotated[list[DifferingRange], Field(description=f"The first {_SHOWN} of them")]
    repair: Annotated[bool, Field(description="The next cycle, or the one that runs, sends them again")]
    started_at: Time | None
    finished_at: Time | None
    error: Annotated[str | None, Field(description="Why it failed, or does not move on at present")]

    @classmethod
    def of(cls, row: Verification) -> Self:
        """Make the answer."""
        begun = row.started_at if row.every_days is not None else None
        return cls(
            state=row.state,
            every_days=row.every_days,
            next_at=None if begun is None or row.every_days is None else begun + timedelta(days=row.every_days),
            limit=row.limit,
            position=row.position,
            size=row.size,
            percent=100 * row.position / row.size if row.size else 0.0,
            rate=row.rate,
            eta_seconds=(row.size - row.position) / row.rate if row.rate else None,
            first_generation=row.first_generation,
            generation=row.generation,
            differing_bytes=row.differing_bytes,
            differing_ranges=len(row.differing),
            differing=[DifferingRange(offset=offset, length=length) for offset, length in row.differing[:_SHOWN]],
            repair=row.repair,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error=row.error,
        )


@router.get("", summary="Show the verification of the copy", responses=problems(404))
def show_verification(name: str, services: TheServices) -> VerificationAnswer:
    """Show the last verification of a job's copy, or how far the one that runs is."""
    with services.database.session(read_only=True) as session:
        return VerificationAnswer.of(verification.shown(session, jobs.get(session, name)))


@router.post("", summary="Verify the copy", status_code=202, dependencies=LICENSED, responses=problems(404, 409))
def verify(name: str, request: VerificationRequest, services: TheServices) -> VerificationAnswer:
    """Compare the newest recovery point with the source's snapshot of the same generation, byte for byte, by digests.

    Cycles and hosts go on meanwhile; what they write is not looked at. A copy that differs is told by an event, and is
    not changed.
    """
    verification.begin(services.database, name, request.limit)
    return show_verification(name, services)


@router.delete("", summary="Stop the verification", status_code=204, responses=problems(404))
def stop_verification(name: str, services: TheServices) -> None:
    """End a verification that runs, without a result."""
    verification.stop(services.database, name)


@router.put("/schedule", summary="Set how often the copy is verified", responses=problems(404, 409))
def schedule_verification(name: str, request: VerificationScheduleRequest, services: TheServices) -> VerificationAnswer:
    """Have a verification begin by itself every so many days."""
    verification.schedule(services.database, name, request.days)
    return show_verification(name, services)


@router.post("/repair", summary="Repair the copy", status_code=202, dependencies=LICENSED, responses=problems(404, 409))
def repair(name: str, services: TheServices) -> VerificationAnswer:
    """Have the job's next cycle send what its verification found to differ, beside what has changed; it begins now.

    The recovery points that are there stay as they are: the next one is right.
    """
    verification.repair(services.database, name)
    services.workers.wake()
    return show_verification(name, services)
