"""The event log."""

from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field

from qreplica.api.access import TheServices, administered
from qreplica.api.downloads import Form, WantedForm, described, download
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.events import log
from qreplica.events.log import Wanted
from qreplica.state.models import Severity

router = administered("/events", "events")


_EXAMPLE = {
    "id": 17,
    "at": "2026-11-24T09:30:00.000Z",
    "controller": 1,
    "severity": "info",
    "kind": "cycle-committed",
    "subject": "job nightly",
    "message": "Generation 4 was committed.",
}


class EventAnswer(Answer):
    """An event."""

    model_config = example(_EXAMPLE)
    id: int
    at: Time
    controller: int | None
    severity: Severity
    kind: Annotated[str, Field(description="What kind of event; stable")]
    subject: Annotated[str, Field(description="The object's noun and name")]
    message: str


def _wanted(
    severity: Annotated[Severity | None, Query(description="Only of this severity")] = None,
    subject: Annotated[str | None, Query(description="Only about this object, such as `job nightly`")] = None,
    contains: Annotated[
        str | None, Query(max_length=200, description="Only whose subject or message holds this text, in any case")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not before; RFC 3339")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not after; RFC 3339")] = None,
) -> Wanted:
    return Wanted(severity, subject, contains, since, until)


WantedEvents = Annotated[Wanted, Depends(_wanted)]


@router.get("", summary="List the events", responses=problems())
def list_events(
    services: TheServices,
    wanted: WantedEvents,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only ids below: the next page")] = None,
) -> list[EventAnswer]:
    """List the latest events, newest first."""
    with services.database.session(read_only=True) as session:
        found = log.recent(session, wanted, limit=limit, before=before)
        return [EventAnswer.model_validate(event) for event in found]


@router.get(
    "/download",
    summary="Download the event log",
    response_class=StreamingResponse,
    responses={**described(EventAnswer, _EXAMPLE), **problems()},
)
def download_events(services: TheServices, wanted: WantedEvents, form: WantedForm = Form.CSV) -> StreamingResponse:
    """Download all events that match, however many they are."""
    return download("qreplica-events", EventAnswer, log.everything(services.database, wanted), form)
