"""A log as a file: all entries that match, however many they are, one a line."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import Query
from fastapi.responses import StreamingResponse

from qreplica.api.fields import Answer


class Form(StrEnum):
    """How a log is downloaded."""

    CSV = "csv"
    JSON_LINES = "jsonl"


#: The form that is asked for.
WantedForm = Annotated[Form, Query(alias="format", description="CSV (RFC 4180), or a JSON object a line")]
_MEDIA: Final = {Form.CSV: "text/csv; charset=utf-8", Form.JSON_LINES: "application/jsonl"}


def described(model: type[Answer], example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of a download whose entries are ``model``s, such as ``example``."""
    head = ",".join(model.model_fields) + "\r\n"
    return {
        200: {
            "description": "One entry a line, newest first; CSV begins with the names of its columns",
            "content": {
                "text/csv": {"schema": {"type": "string"}, "example": head},
                "application/jsonl": {"schema": {"type": "string"}, "example": json.dumps(example) + "\n"},
            },
        }
    }


def download(name: str, model: type[Answer], entries: Iterable[object], form: Form) -> StreamingResponse:
    """Return the answer that sends the entries as ``NAME.csv`` or ``NAME.jsonl``."""
    plain = (model.model_validate(one).model_dump(mode="json") for one in entries)
    lines = _csv(list(model.model_fields), plain) if form is Form.CSV else _json_lines(plain)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(lines, media_type=_MEDIA[form], headers=headers)


def _json_lines(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def _csv(columns: list[str], entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.DictWriter(line, columns)
    writer.writeheader()
    for entry in entries:
        writer.writerow(entry)
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()
