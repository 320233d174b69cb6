"""The subsystem as a whole."""

from typing import Annotated

from pydantic import Field
from sqlalchemy import select

from qreplica.api.access import TheServices, administered
from qreplica.api.controllers import ControllerAnswer, list_controllers
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.cluster import restarts
from qreplica.state.models import Subsystem

router = administered("/subsystem", "subsystem")


class SubsystemAnswer(Answer):
    """The subsystem."""

    model_config = example(
        {"name": "source", "serial": "QR-7K3M-0QZD-P8R4", "created_at": "2026-11-20T09:00:00.000Z"},
    )
    name: str
    serial: Annotated[str, Field(description="Its serial number, which licenses are bound to")]
    created_at: Time


@router.get("", summary="Show the subsystem", responses=problems())
def show_subsystem(services: TheServices) -> SubsystemAnswer:
    """Show the subsystem's name and serial number."""
    with services.database.session(read_only=True) as session:
        return SubsystemAnswer.model_validate(session.scalars(select(Subsystem)).one())


@router.post("/restart", summary="Restart the subsystem", status_code=202, responses=problems())
def restart_subsystem(services: TheServices) -> list[ControllerAnswer]:
    """Restart both controllers, the second only when the first is back: hosts use the other one meanwhile.

    Follow it by `GET /api/v1/controllers`, until `restarting` is false for all.
    """
    with services.database.session() as session:
        restarts.ask_all(session, services.config.controller)
    return list_controllers(services)
