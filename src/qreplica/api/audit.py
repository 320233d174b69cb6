"""The audit log: who changed what, and who was refused."""

from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field

from qreplica.access.audit import Wanted
from qreplica.access.roles import Role
from qreplica.api.access import TheAudit, administered
from qreplica.api.downloads import Form, WantedForm, described, download
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems

router = administered("/audit", "access", reads=Role.ADMIN)


_EXAMPLE = {
    "id": 17,
    "at": "2026-11-24T09:30:00.000Z",
    "controller": 1,
    "user": "night-shift",
    "role": "operator",
    "token": None,
    "address": "192.0.2.7",
    "operation": "start_job",
    "subject": "/api/v1/jobs/nightly/start",
    "details": None,
    "status": 202,
    "problem": None,
}


class AuditAnswer(Answer):
    """An entry of the audit log."""

    model_config = example(_EXAMPLE)
    id: int
    at: Time
    controller: int
    user: Annotated[str | None, Field(description="Who; of a log-in that failed, whose name was given")]
    role: Annotated[Role | None, Field(description="As what; null for who was not let in yet")]
    token: Annotated[str | None, Field(description="The API token by which; null for a login")]
    address: Annotated[str | None, Field(description="From where")]
    operation: Annotated[str, Field(description="The `operationId` of this description")]
    subject: Annotated[str, Field(description="The path, and the query")]
    details: Annotated[str | None, Field(description="What was asked for, as JSON, without secrets")]
    status: Annotated[int | None, Field(description="The answer's; null when a controller was cut off before it")]
    problem: Annotated[str | None, Field(description="The kind of the problem that was answered")]


def _wanted(
    user: Annotated[str | None, Query(max_length=64, description="Only of this user")] = None,
    operation: Annotated[str | None, Query(max_length=64, description="Only this `operationId`")] = None,
    refused: Annotated[bool | None, Query(description="Only what was refused or failed, or only what was not")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not before; RFC 3339")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not after; RFC 3339")] = None,
) -> Wanted:
    return Wanted(user, operation, refused, since, until)


WantedEntries = Annotated[Wanted, Depends(_wanted)]


@router.get("", summary="List the audit log", responses=problems())
def list_audit(
    audit: TheAudit,
    wanted: WantedEntries,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only ids below: the next page")] = None,
) -> list[AuditAnswer]:
    """List who changed what, and who was refused, newest first."""
    return [AuditAnswer.model_validate(one) for one in audit.recent(wanted, limit=limit, before=before)]


@router.get(
    "/download",
    summary="Download the audit log",
    response_class=StreamingResponse,
    responses={**described(AuditAnswer, _EXAMPLE), **problems()},
)
def download_audit(audit: TheAudit, wanted: WantedEntries, form: WantedForm = Form.CSV) -> StreamingResponse:
    """Download all entries that match, however many they are."""
    return download("qreplica-audit", AuditAnswer, audit.all(wanted), form)
