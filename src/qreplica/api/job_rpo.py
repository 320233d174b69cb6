"""How old the copy of a replication job may become."""

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, example
from qreplica.api.job_models import RpoMinutes
from qreplica.api.problems import problems
from qreplica.replication import rpo

router = administered("/jobs/{name}/rpo", "replication", changes=Role.OPERATOR)

_EXAMPLE = {"rpo_minutes": 60}


class RpoRequest(Strict):
    """A goal."""

    model_config = example(_EXAMPLE)
    rpo_minutes: RpoMinutes


class RpoAnswer(Answer):
    """A job's goal."""

    model_config = example(_EXAMPLE)
    rpo_minutes: RpoMinutes


@router.get("", summary="Show a job's RPO goal", responses=problems(404))
def show_rpo(name: str, services: TheServices) -> RpoAnswer:
    """Show how old the content of a job's newest recovery point may become."""
    with services.database.session(read_only=True) as session:
        return RpoAnswer(rpo_minutes=rpo.goal(session, name))


@router.put("", summary="Set a job's RPO goal", responses=problems(404))
def put_rpo(name: str, request: RpoRequest, services: TheServices) -> RpoAnswer:
    """Set how old the content of a job's newest recovery point may become, from 1 minute to 366 days.

    That it is older is an event `rpo-missed`, once, whatever the job is doing; `rpo-met-again` follows.
    """
    rpo.set_goal(services.database, name, request.rpo_minutes)
    return show_rpo(name, services)


@router.delete("", summary="Remove a job's RPO goal", status_code=204, responses=problems(404))
def delete_rpo(name: str, services: TheServices) -> None:
    """Have a job judged by no goal. Does nothing where there is none."""
    rpo.set_goal(services.database, name, None)
