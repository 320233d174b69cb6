"""Planned failover of a job, with both sides alive: nothing that hosts wrote is lost."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, Time, example
from qreplica.api.licensed import LICENSED
from qreplica.api.operations import needs
from qreplica.api.problems import problems
from qreplica.replication.failing_over import Prospect
from qreplica.state.failover_models import Failover, FailoverStep

router = administered("/jobs/{name}", "replication")


class FailoverRequest(Strict):
    """The word that stands for having read what a failover does."""

    model_config = example({"confirm": "payroll"})
    confirm: Annotated[str | None, Field(description="The source VD's name")] = None


class FailoverAnswer(Answer):
    """What a failover would do, or how far one is."""

    model_config = example(
        {
            "job": "nightly",
            "under_way": True,
            "vd": "payroll",
            "target_vd": "payroll-copy",
            "target_subsystem": "target",
            "nodes": ["hosts"],
            "step": "copy",
            "generation": 42,
            "begun_at": "2026-12-01T02:15:00.000Z",
            "error": None,
            "sentence": "hosts can only read “payroll” on iSCSI node hosts from now on, ...",
        }
    )
    job: str
    under_way: bool
    vd: Annotated[str, Field(description="The source VD")]
    target_vd: Annotated[str, Field(description="The backup VD on the target")]
    target_subsystem: Annotated[str, Field(description="The target subsystem")]
    nodes: Annotated[tuple[str, ...], Field(description="The iSCSI nodes on which hosts find the source VD")]
    step: Annotated[FailoverStep | None, Field(description="Null while none is under way")]
    generation: Annotated[int | None, Field(description="The last one that is copied, once it was begun")]
    begun_at: Time | None
    error: Annotated[str | None, Field(description="Why it does not move on at present")]
    sentence: Annotated[str, Field(description="What it does, in words: what the administrator has to read")]

    @classmethod
    def of(cls, found: Prospect, row: Failover | None) -> "FailoverAnswer":
        """Make the answer."""
        return cls(
            job=found.job,
            under_way=row is not None,
            vd=found.vd,
            target_vd=found.target_vd,
            target_subsystem=found.target_subsystem,
            nodes=found.nodes,
            step=None if row is None else row.step,
            generation=None if row is None else row.generation,
            begun_at=None if row is None else row.begun_at,
            error=None if row is None else row.error,
            sentence=found.sentence,
        )


@router.get(
    "/failover", summary="Show what a planned failover would do, or how far it is", responses=problems(404, 409)
)
def show_failover(name: str, services: TheServices) -> FailoverAnswer:
    """Show what failing the job over would do; while it fails over, which step it is in and what hinders it.

    Once it is done the job is no more, and the source VD is a backup VD.
    """
    return FailoverAnswer.of(*services.failing_over.show(name))


@router.post(
    "/failover",
    summary="Fail over to the copy",
    status_code=202,
    dependencies=LICENSED,
    responses=problems(404, 409, 507),
)
@needs(Role.ADMIN)
def fail_over(name: str, request: FailoverRequest, services: TheServices) -> FailoverAnswer:
    """Let hosts only read the source VD, copy what they wrote until then, promote the copy, and swap the roles.

    Without the word “confirm” it is refused, and told what it does. It goes on by itself, also when this controller
    fails. Called again while it is under way it changes nothing.
    """
    services.failing_over.begin(name, request.confirm)
    services.workers.wake()
    return show_failover(name, services)


@router.delete("/failover", summary="Call a planned failover off", status_code=204, responses=problems(404, 409, 503))
@needs(Role.ADMIN)
def cancel_failover(
    name: str,
    services: TheServices,
    *,
    force: Annotated[bool, Query(description="Whatever the target says: it is gone for good")] = False,
) -> None:
    """Let hosts write to the source VD again.

    Once the target has been told to promote the copy, only if it confirms that it has not, and will not; or by force,
    which leaves two histories if hosts do use the copy.
    """
    services.failing_over.cancel(name, force=force)
