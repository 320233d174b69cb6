"""The event log."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.events import log
from qreplica.state.models import Severity

router = administered("/events", "events")


class EventAnswer(Answer):
    """An event."""

    model_config = example(
        {
            "id": 17,
            "at": "2026-11-24T09:30:00.000Z",
            "controller": 1,
            "severity": "info",
            "kind": "cycle-committed",
            "subject": "job nightly",
            "message": "Generation 4 was committed.",
        }
    )
    id: int
    at: Time
    controller: int | None
    severity: Severity
    kind: Annotated[str, Field(description="What kind of event; stable")]
    subject: Annotated[str, Field(description="The object's noun and name")]
    message: str


@router.get("", summary="List the events", responses=problems())
def list_events(
    services: TheServices,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100,
    severity: Annotated[Severity | None, Query(description="Only of this severity")] = None,
    subject: Annotated[str | None, Query(description="Only about this object, such as `job nightly`")] = None,
) -> list[EventAnswer]:
    """List the latest events, newest first."""
    with services.database.session(read_only=True) as session:
        found = log.recent(session, severity=severity, subject=subject, limit=limit)
        return [EventAnswer.model_validate(event) for event in found]
