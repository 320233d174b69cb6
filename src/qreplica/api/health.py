"""Whether the controller answers."""

from typing import Literal

from qreplica.api.access import opened
from qreplica.api.fields import Answer, example
from qreplica.api.problems import problems

router = opened("subsystem")


class HealthAnswer(Answer):
    """The controller answers."""

    model_config = example({"status": "ok"})
    status: Literal["ok"] = "ok"


@router.get("/health", summary="Ask whether the controller answers", responses=problems())
def health() -> HealthAnswer:
    """Answer; nothing of the subsystem is told. Needs no token."""
    return HealthAnswer()
