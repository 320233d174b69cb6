"""Recovery points of backup VDs: what there is, what keeps them, and their locks."""

from typing import Annotated, Self

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheCaller, TheServices, administered
from qreplica.api.fields import Answer, Size, Strict, Time, example
from qreplica.api.job_models import Comment
from qreplica.api.problems import problems
from qreplica.replication import point_keeping

router = administered("/recovery-points", "replication", changes=Role.OPERATOR)


class LockRequest(Strict):
    """A lock."""

    model_config = example({"note": "State of the annual accounts"})
    note: Annotated[Comment, Field(description="Why it is locked")] = ""


class LockAnswer(Answer):
    """A lock."""

    locked_at: Time
    locked_by: Annotated[str, Field(description="The user who locked it")]
    note: str


class RecoveryPointAnswer(Answer):
    """A recovery point."""

    model_config = example(
        {
            "vd": "payroll-copy",
            "name": "recovery-7-1f0b2c3d",
            "generation": 7,
            "job": "5b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "committed_at": "2026-11-24T09:30:00.000Z",
            "size": 2147483648,
            "lock": {
                "locked_at": "2026-11-24T12:00:00.000Z",
                "locked_by": "olaf",
                "note": "State of the annual accounts",
            },
            "kept_by": ["last", "daily", "locked"],
        }
    )
    vd: str
    name: Annotated[str, Field(description="The name of its snapshot")]
    generation: Annotated[int, Field(description="Numbered by the job")]
    job: Annotated[str, Field(description="The id of the job that committed it")]
    committed_at: Time
    size: Annotated[Size, Field(description="The source VD's size at that time, in bytes")]
    lock: Annotated[LockAnswer | None, Field(description="Null: it is not locked")]
    kept_by: Annotated[
        list[str],
        Field(
            description="The rules that keep it: `last`, `hourly`, `daily`, `weekly`, `monthly`, `locked`, `in-use` (a "
            "LUN or a test mount shows it, or a roll-back goes to it); none: it goes when the next cycle begins"
        ),
    ]

    @classmethod
    def of(cls, vd: str, kept: point_keeping.KeptPoint) -> Self:
        """Return the answer that shows the point."""
        one, lock = kept.point, None
        if one.locked_at is not None:
            lock = LockAnswer(locked_at=one.locked_at, locked_by=one.locked_by or "", note=one.lock_note)
        return cls(
            vd=vd,
            name=kept.name,
            generation=one.generation,
            job=one.job_id,
            committed_at=one.committed_at,
            size=one.size,
            lock=lock,
            kept_by=kept.kept_by,
        )


@router.get("/{vd}", summary="List the recovery points", responses=problems(404))
def list_recovery_points(vd: str, services: TheServices) -> list[RecoveryPointAnswer]:
    """List the recovery points of a backup VD, oldest first, with the rules of its retention that keep each."""
    with services.database.session(read_only=True) as session:
        return [RecoveryPointAnswer.of(vd, one) for one in point_keeping.listing(session, vd)]


@router.get("/{vd}/{point}", summary="Show a recovery point", responses=problems(404, 409))
def show_recovery_point(vd: str, point: str, services: TheServices) -> RecoveryPointAnswer:
    """Show one recovery point, by its name or its generation."""
    with services.database.session(read_only=True) as session:
        return RecoveryPointAnswer.of(vd, point_keeping.get(session, vd, point))


@router.put("/{vd}/{point}/lock", summary="Lock a recovery point", responses=problems(404, 409))
def lock_recovery_point(
    vd: str, point: str, request: LockRequest, services: TheServices, caller: TheCaller
) -> RecoveryPointAnswer:
    """Have nothing automatic let a recovery point go, named by its name or its generation, until it is unlocked.

    Of one that is locked already the note alone changes. Its space stays used: what is locked counts against the VD's
    snapshot space, for which unlocked points go.
    """
    point_keeping.lock(services.database, vd, point, by=caller.user, note=request.note)
    return show_recovery_point(vd, point, services)


@router.delete("/{vd}/{point}/lock", summary="Unlock a recovery point", status_code=204, responses=problems(404, 409))
def unlock_recovery_point(vd: str, point: str, services: TheServices, caller: TheCaller) -> None:
    """Have a recovery point judged by the retention as any other, from the next cycle on."""
    point_keeping.unlock(services.database, vd, point, by=caller.user)
