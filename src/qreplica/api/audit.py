"""The audit log: who changed what, and who was refused."""

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field

from qreplica.access.audit import Wanted
from qreplica.access.roles import Role
from qreplica.api.access import TheAudit, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.state.access_models import AuditEntry

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


class Form(StrEnum):
    """How the log is downloaded."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_MEDIA = {Form.CSV: "text/csv; charset=utf-8", Form.JSON_LINES: "application/jsonl"}
_COLUMNS = list(AuditAnswer.model_fields)


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
    responses={
        200: {
            "description": "One entry a line, newest first; CSV begins with the names of its columns",
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": ",".join(_COLUMNS) + "\r\n"},
                "application/jsonl": {"schema": {"type": "string"}, "example": json.dumps(_EXAMPLE) + "\n"},
            },
        },
        **problems(),
    },
)
def download_audit(
    audit: TheAudit,
    wanted: WantedEntries,
    form: Annotated[Form, Query(alias="format", description="CSV (RFC 4180), or a JSON object a line")] = Form.CSV,
) -> StreamingResponse:
    """Download all entries that match, however many they are."""
    lines = _csv if form is Form.CSV else _json_lines
    headers = {"Content-Disposition": f'attachment; filename="qreplica-audit.{form}"'}
    return StreamingResponse(lines(audit.all(wanted)), media_type=_MEDIA[form], headers=headers)


def _json_lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(_plain(entry), ensure_ascii=False) + "\n"


def _csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.DictWriter(line, _COLUMNS)
    writer.writeheader()
    for entry in entries:
        writer.writerow(_plain(entry))
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _plain(entry: AuditEntry) -> dict[str, Any]:
    return AuditAnswer.model_validate(entry).model_dump(mode="json")
