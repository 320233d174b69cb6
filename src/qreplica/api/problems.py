"""Failures as RFC 9457 problem bodies, and how the OpenAPI description tells of them."""

import uuid
from typing import Annotated, Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from qreplica.access.audit import Outcome
from qreplica.api.errors import InternalError, NoSuchRoute, RequestInvalid
from qreplica.errors import QReplicaError

MEDIA_TYPE: Final = "application/problem+json"

_log = structlog.get_logger(__name__)


class Place(BaseModel):
    """A part of the request that is not valid."""

    place: Annotated[str, Field(description="Where in the request: `body.size`, `query.limit`")]
    message: Annotated[str, Field(description="What is wrong there")]


class Problem(BaseModel):
    """An RFC 9457 problem: what happened, why, and what to do."""

    type: Annotated[str, Field(description="`urn:qreplica:error:` and the kind, which is stable")]
    title: Annotated[str, Field(description="The category, in words")]
    status: Annotated[int, Field(description="The HTTP status")]
    detail: Annotated[str, Field(description="One sentence: what happened, why, and what to do")]
    fields: Annotated[
        dict[str, bool | int | float | str], Field(description="The facts in the sentence; sizes in bytes")
    ] = {}
    exit_code: Annotated[int, Field(description="What the command line ends with")]
    places: Annotated[list[Place], Field(description="The parts of the request that are not valid")] = []


_MEANINGS = {
    401: "No valid token: log in first",
    403: "It needs a license that is in force, or more rights than the caller has",
    404: "What was named does not exist",
    409: "The present state forbids it",
    413: "The body is too large; nothing was changed",
    422: "The request is not valid; nothing was changed",
    429: "Too many failed logins: wait",
    500: "An engine below, or the subsystem itself, failed",
    502: "The other subsystem, or the way to it, failed or refused",
    503: "Not possible just now; the same request may succeed later",
    507: "Not enough space",
}

_EXAMPLES = {
    401: ("token-invalid", "Not authorised", 6, "The login has ended or was never valid: log in again.", {}),
    403: (
        "role-too-low",
        "Not allowed",
        6,
        "delete_user needs the role admin, and “eve” acts as viewer: ask an admin to do it or to change the role.",
        {"operation": "delete_user", "needed": "admin", "user": "eve", "role": "viewer"},
    ),
    404: (
        "not-found",
        "No such object",
        3,
        "There is no virtual disk “payroll”: list those that exist with “qreplica vd list”.",
        {"what": "virtual disk", "name": "payroll", "noun": "vd"},
    ),
    409: ("name-taken", "The present state forbids this", 4, "There is already a virtual disk “payroll”.", {}),
    413: ("license-too-large", "The request is not valid", 2, "The file is larger than 16 KiB.", {}),
    422: ("not-a-size", "The request is not valid", 2, "“ten” is not a size: write a number with a binary unit.", {}),
    429: ("too-many-failures", "Too many failed logins", 9, "“admin” failed 6 times: wait 2 s and try again.", {}),
    500: ("engine-failed", "A storage engine failed", 8, "The file system of RAID group “rg1” is read-only.", {}),
    502: ("peer-unreachable", "The other subsystem failed or refused", 7, "192.168.1.11 cannot be reached.", {}),
    503: ("state-busy", "Not possible at the moment", 9, "The state database is held by another process.", {}),
    507: ("no-space", "Not enough space", 5, "10 GiB are needed and 4 GiB are free in RAID group “rg1”.", {}),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of an operation that may fail with ``statuses``; 422, 500 and 503 may come from all."""
    return {status: _response(status) for status in sorted({*statuses, 422, 500, 503})}


def _response(status: int) -> dict[str, Any]:
    kind, title, exit_code, detail, fields = _EXAMPLES[status]
    example = {
        "type": f"urn:qreplica:error:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "fields": fields,
        "exit_code": exit_code,
        "places": [],
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": _MEANINGS[status],
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }


def answer(error: QReplicaError, places: list[Place] | None = None) -> Response:
    """Return the response that tells of ``error``."""
    headers = {}
    if error.status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2: a 401 names the scheme
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in error.fields:
        headers["Retry-After"] = str(error.fields["retry_after"])
    body = Problem(**error.problem(), exit_code=error.exit_code, places=places or [])
    return JSONResponse(body.model_dump(), status_code=error.status, media_type=MEDIA_TYPE, headers=headers)


def outcome_of(error: Exception) -> Outcome:
    """Return how ``error`` is answered."""
    if isinstance(error, QReplicaError):
        return Outcome(error.status, error.kind)
    if isinstance(error, RequestValidationError | HTTPException):
        return Outcome(RequestInvalid.status, RequestInvalid.kind)
    return Outcome(InternalError.status, InternalError.kind)


def answer_with_problems(app: FastAPI, controller: int) -> None:
    """Make every failure of ``app`` a problem body; an unexpected one is logged under an incident id."""

    @app.exception_handler(QReplicaError)
    def expected(_: Request, error: QReplicaError) -> Response:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    def not_valid(_: Request, error: RequestValidationError) -> Response:
        # The rejected values stay out of the answer: they may be secrets.
        places = [Place(place=_place(one["loc"]), message=one["msg"]) for one in error.errors()]
        return answer(RequestInvalid(place=places[0].place, reason=places[0].message), places)

    @app.exception_handler(HTTPException)
    def refused_by_framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # noqa: PLR2004 - FastAPI's answer to a body that is no text
            return answer(RequestInvalid(place="body", reason=error.detail))
        return answer(NoSuchRoute(method=request.method, path=request.url.path))

    # Starlette raises the exception again after this answer, so that the server logs it too.
    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        incident = uuid.uuid4().hex
        _log.error(
            "unexpected failure", incident=incident, method=request.method, path=request.url.path, exc_info=error
        )
        return answer(InternalError(incident=incident, controller=controller))


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in parts)
