"""Giving way to a copy that was promoted: the old source VD becomes its backup VD."""

from typing import Annotated

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Size, Strict, Time, example
from qreplica.api.problems import problems

router = administered("/jobs/{name}", "replication")


class GiveWayRequest(Strict):
    """The word that stands for having read what goes out of use."""

    model_config = example({"confirm": "payroll"})
    confirm: Annotated[str | None, Field(description="The source VD's name")] = None


class GiveWayProspect(Answer):
    """What giving way would do."""

    model_config = example(
        {
            "vd": "payroll",
            "generation": 42,
            "since": "2026-12-01T02:00:00.000Z",
            "changed": 104857600,
            "sentence": "everything written since 2026-12-01 02:00:00 UTC (2 h 10 min ago), 100 MiB",
        }
    )
    vd: Annotated[str, Field(description="The source VD")]
    generation: Annotated[int, Field(description="The newest that both sides hold, to which it goes back")]
    since: Time
    changed: Annotated[Size, Field(description="Bytes that hosts wrote here since, which a snapshot keeps")]
    sentence: Annotated[str, Field(description="It in words")]


class GiveWayAnswer(Answer):
    """What came of it."""

    model_config = example(
        {"vd": "payroll", "generation": 42, "kept": "before-rollback-20261201-021500", "problems": []}
    )
    vd: str
    generation: int
    kept: Annotated[str | None, Field(description="The snapshot of what hosts wrote here since")]
    problems: Annotated[list[str], Field(description="What is not served again yet, and is tried again by itself")]


@router.get("/give-way", summary="Show what giving way would do", responses=problems(404, 409, 502))
def show_give_way(name: str, services: TheServices) -> GiveWayProspect:
    """Ask the other side which generation both hold, and tell what hosts wrote here since."""
    common, loss = services.giving_way.prospect(name)
    return GiveWayProspect(
        vd=common.vd, generation=common.generation, since=loss.since, changed=loss.changed, sentence=loss.sentence
    )


@router.post("/give-way", summary="Give way to a promoted copy", responses=problems(404, 409, 502, 507))
def give_way(name: str, request: GiveWayRequest, services: TheServices) -> GiveWayAnswer:
    """Make of a superseded job's source VD the backup VD of the copy that was promoted; the job is no more.

    What hosts wrote here since the newest generation that both sides hold is kept as a snapshot. Attach the VD to an
    iSCSI node, and make a job in the other direction there: it sends only what has changed since. Refused while the VD
    is attached, and without the word “confirm”, with what would be taken out of use.
    """
    done = services.giving_way.give_way(name, request.confirm)
    told = [problem.sentence for problem in done.problems]
    return GiveWayAnswer(vd=done.vd, generation=done.generation, kept=done.kept, problems=told)
