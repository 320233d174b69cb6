"""The controllers of the subsystem."""

from typing import Annotated

from fastapi import Path
from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.cluster import duties, restarts, standing
from qreplica.cluster.standing import Standing

router = administered("/controllers", "subsystem", changes=Role.OPERATOR)


class ControllerAnswer(Answer):
    """A controller."""

    model_config = example(
        {
            "number": 1,
            "standing": "online",
            "since": "2026-11-24T09:00:00.000Z",
            "alive": True,
            "runs_jobs_of": [1],
            "started_at": "2026-11-24T09:00:00.000Z",
            "heartbeat_at": "2026-11-24T09:30:00.000Z",
            "version": "0.1.0",
            "management": "https://192.0.2.1:8080",
            "fingerprint": ":".join(["5D", "1F", "4B", "0C"] * 8),
            "restarting": False,
        }
    )
    number: int
    standing: Annotated[
        Standing,
        Field(
            description="`online`: it runs its jobs. `taken-over`: the other one does. `failed`: nobody does. "
            "`stopped`: it was ended in an orderly way."
        ),
    ]
    since: Annotated[Time | None, Field(description="Since when it stands so; null when it never started")]
    alive: Annotated[bool, Field(description="Whether its heartbeat has counted in the last 30 s")]
    runs_jobs_of: Annotated[list[int], Field(description="The controllers whose jobs it runs")]
    started_at: Time | None
    heartbeat_at: Time | None
    version: str
    management: Annotated[str | None, Field(description="Where its API is; null when that is not known")]
    fingerprint: Annotated[
        str | None, Field(description="SHA-256 of its API's TLS certificate; null when it speaks plain HTTP")
    ]
    restarting: Annotated[bool, Field(description="Whether it is to restart, or is in the middle of it")]


@router.get("", summary="List the controllers", responses=problems())
def list_controllers(services: TheServices) -> list[ControllerAnswer]:
    """List the controllers and how they stand."""
    with services.database.session(read_only=True) as session:
        found = standing.listing(session, services.config.controller)
        return [ControllerAnswer.model_validate(one) for one in found]


@router.post("/{number}/fail-back", summary="Hand a controller's jobs back", status_code=202, responses=problems(404))
def fail_back(number: Annotated[int, Path(ge=1, le=2)], services: TheServices) -> list[ControllerAnswer]:
    """Hand the controller's jobs back to it, once it lives and the cycle that runs has ended."""
    with services.database.session() as session:
        duties.ask_back(session, number)
    return list_controllers(services)


@router.post("/{number}/restart", summary="Restart a controller", status_code=202, responses=problems(404, 409))
def restart(number: Annotated[int, Path(ge=1, le=2)], services: TheServices) -> list[ControllerAnswer]:
    """Restart a controller's daemons, once no other one is restarting; its jobs and hosts use the other meanwhile."""
    with services.database.session() as session:
        restarts.ask(session, number, services.config.controller)
    return list_controllers(services)
