"""The controllers of the subsystem."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.iscsi import ports
from qreplica.state.models import Controller, now

router = administered("/controllers", "subsystem")

#: A controller whose heartbeat is older than this is shown as down; nothing but what people see depends on it.
_SILENT = timedelta(seconds=30)


class ControllerState(StrEnum):
    """UP: its heartbeat counts. DOWN: it does not, or never did."""

    UP = "up"
    DOWN = "down"


class ControllerAnswer(Answer):
    """A controller."""

    model_config = example(
        {
            "number": 1,
            "state": "up",
            "started_at": "2026-11-24T09:00:00.000Z",
            "heartbeat_at": "2026-11-24T09:30:00.000Z",
            "version": "0.1.0",
        }
    )
    number: int
    state: Annotated[ControllerState, Field(description="`down` when its heartbeat has not counted for 30 s")]
    started_at: Time | None
    heartbeat_at: Time | None
    version: str

    @classmethod
    def of(cls, controller: Controller, mine: int) -> Self:
        """Return the answer that shows ``controller``; the one that answers (``mine``) is up."""
        beat = controller.heartbeat_at
        alive = controller.number == mine or (beat is not None and now() - beat < _SILENT)
        return cls(
            number=controller.number,
            state=ControllerState.UP if alive else ControllerState.DOWN,
            started_at=controller.started_at,
            heartbeat_at=beat,
            version=controller.version,
        )


@router.get("", summary="List the controllers", responses=problems())
def list_controllers(services: TheServices) -> list[ControllerAnswer]:
    """List the controllers and whether they live."""
    with services.database.session(read_only=True) as session:
        return [ControllerAnswer.of(one, services.config.controller) for one in ports.controllers(session)]
