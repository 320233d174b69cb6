"""The license of this subsystem."""

from typing import Annotated, Any, Final, Self

from fastapi import Depends, Request
from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.license.licensing import LicenseState, LicenseStatus

router = administered("/license", "subsystem")

_DOCUMENT: Final = {
    "format": "qreplica-license",
    "version": 1,
    "id": "0b1f6c9f4a5d4f0e9d1c2b3a49586776",
    "serial": "QR-7K3M-0QZD-P8R4",
    "feature": "qreplica",
    "licensee": "Example Ltd",
    "issued_at": "2026-11-24T09:00:00Z",
    "not_before": None,
    "expires_at": "2027-11-24T09:00:00Z",
    "key": "9f86d081884c7d65",
}


class LicenseFacts(Answer):
    """What a license says."""

    id: str
    feature: str
    licensee: str
    issued_at: Time
    not_before: Time | None
    expires_at: Annotated[Time | None, Field(description="Null: it does not expire")]
    key: Annotated[str, Field(description="The fingerprint of the key that signed it")]


class LicenseOnController(Answer):
    """How a controller stands to the license."""

    number: int
    in_force: Annotated[bool, Field(description="Whether a license is in force there, if an earlier one")]
    restart_needed: Annotated[bool, Field(description="Whether the license takes effect there only by a restart")]


class LicenseAnswer(Answer):
    """The license that was uploaded last, and where it is in force."""

    model_config = example(
        {
            "serial": _DOCUMENT["serial"],
            "state": "needs-restart",
            "message": "The license key is activated on the subsystem: restart the subsystem to make the license take "
            "effect (“qreplica subsystem restart”).",
            "license": {name: _DOCUMENT[name] for name in LicenseFacts.model_fields},
            "uploaded_at": "2026-11-25T09:00:00.000Z",
            "controllers": [
                {"number": 1, "in_force": True, "restart_needed": False},
                {"number": 2, "in_force": False, "restart_needed": True},
            ],
        }
    )
    serial: Annotated[str, Field(description="The subsystem's serial number, which licenses are bound to")]
    state: LicenseState
    message: Annotated[str, Field(description="What an administrator should know or do")]
    license: Annotated[LicenseFacts | None, Field(description="Null when none was uploaded")]
    uploaded_at: Time | None
    controllers: list[LicenseOnController]

    @classmethod
    def of(cls, status: LicenseStatus) -> Self:
        """Return the answer that shows it."""
        return cls.model_validate(status)


async def _body(request: Request) -> bytes:
    return await request.body()


_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "description": "The license file, byte for byte as the vendor sent it"},
                "example": {**_DOCUMENT, "signature": "…"},
            }
        },
    }
}


@router.get("", summary="Show the license", responses=problems())
def show_license(services: TheServices) -> LicenseAnswer:
    """Show the license, the serial number that it is bound to, and on which controllers it is in force."""
    return LicenseAnswer.of(services.licensing.status())


@router.post("", summary="Upload a license", responses=problems(409, 413), openapi_extra=_UPLOAD)
def upload_license(content: Annotated[bytes, Depends(_body)], services: TheServices) -> LicenseAnswer:
    """Activate a license file, whose bytes are the body. It takes effect when the subsystem was restarted.

    Refused, and nothing changed, if it is altered, truncated, too large, no license, of another feature or subsystem,
    of a vendor that is not trusted, not yet valid or expired.
    """
    return LicenseAnswer.of(services.licensing.upload(content))
