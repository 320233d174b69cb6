"""Promoting a backup VD: hosts use the copy, since its source is gone."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, Time, example
from qreplica.api.operations import needs
from qreplica.api.problems import problems
from qreplica.replication.promotion import Prospect
from qreplica.state.promotion_models import Promotion

router = administered("/virtual-disks/{name}", "replication")

Generation = Annotated[int, Field(description="Whose recovery point it is to begin with")]


class PromotionRequest(Strict):
    """Which recovery point hosts are to get, and the word that stands for having read what is left behind."""

    model_config = example({"generation": 42, "confirm": "payroll-copy"})
    generation: Annotated[int | None, Field(description="Null: the newest")] = None
    confirm: Annotated[str | None, Field(description="The VD's name")] = None


class PromotionAnswer(Answer):
    """A VD that was promoted."""

    model_config = example(
        {
            "vd": "payroll-copy",
            "generation": 42,
            "epoch": 7,
            "job": "1b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "source_subsystem": "5b1c6dba0c4b4f0d8b2f8b8f1c0a9d55",
            "decided_at": "2026-12-01T02:15:00.000Z",
            "promoted_at": "2026-12-01T02:15:01.000Z",
        }
    )
    vd: str
    generation: Generation
    epoch: Annotated[int, Field(description="Above every one that the job had here")]
    job: Annotated[str, Field(description="The id of the job that is superseded")]
    source_subsystem: str
    decided_at: Time
    promoted_at: Time | None

    @classmethod
    def of(cls, vd: str, row: Promotion) -> "PromotionAnswer":
        """Make the answer."""
        return cls(
            vd=vd,
            generation=row.generation,
            epoch=row.epoch,
            job=row.job_id,
            source_subsystem=row.source_subsystem,
            decided_at=row.decided_at,
            promoted_at=row.promoted_at,
        )


class PointChoice(Answer):
    """A recovery point that it could be promoted to."""

    generation: int
    committed_at: Time


class ProspectAnswer(Answer):
    """What promoting a backup VD leaves behind."""

    model_config = example(
        {
            "vd": "payroll-copy",
            "generation": 42,
            "committed_at": "2026-12-01T02:00:00.000Z",
            "newer": [],
            "partial": 43,
            "points": [{"generation": 42, "committed_at": "2026-12-01T02:00:00.000Z"}],
            "sentence": "everything written to the source after the snapshot of generation 42, ...",
        }
    )
    vd: str
    generation: Generation
    committed_at: Annotated[Time, Field(description="When its recovery point was committed here")]
    newer: Annotated[tuple[int, ...], Field(description="Generations of newer points, which stay as snapshots")]
    partial: Annotated[int | None, Field(description="The generation of which a part has arrived, which is dropped")]
    points: Annotated[list[PointChoice], Field(description="All that it could be promoted to, oldest first")]
    sentence: Annotated[str, Field(description="It in words: what the administrator has to read")]

    @classmethod
    def of(cls, vd: str, found: Prospect) -> "ProspectAnswer":
        """Make the answer."""
        return cls(
            vd=vd,
            generation=found.generation,
            committed_at=found.committed_at,
            newer=found.newer,
            partial=found.partial,
            points=[PointChoice(generation=one, committed_at=at) for one, at in found.choices.items()],
            sentence=found.sentence,
        )


@router.get("/promote", summary="Show what a promotion would leave behind", responses=problems(404, 409))
def show_promotion(
    name: str,
    services: TheServices,
    generation: Annotated[int | None, Query(description="Of which recovery point; the newest if not given")] = None,
) -> ProspectAnswer:
    """Show what promoting a backup VD would leave behind, or what one that was cut off goes on with."""
    return ProspectAnswer.of(name, services.promoter.prospect(name, generation))


@router.post("/promote", summary="Promote a backup VD", responses=problems(404, 409, 503))
@needs(Role.ADMIN)
def promote(name: str, request: PromotionRequest, services: TheServices) -> PromotionAnswer:
    """Let hosts use a backup VD, with the content of a recovery point: for when its source is gone, or is to be.

    Without the word “confirm” it is refused, and told what would be left behind. What was half received is dropped; the
    job that replicated to it is refused from now on, and stops as *superseded* when it comes back. The VD becomes one
    of type RAID and is attached to no node: attach it where its hosts are. What hosts still write to the source, as
    long as they reach it, no one here can know of. Called again it goes on where a failure left it.
    """
    row = services.promoter.promote(name, generation=request.generation, confirmed=request.confirm)
    return PromotionAnswer.of(name, row)
