"""A license as a document: what it says, its one form as bytes, and whether it is genuine.

The file is JSON in one form only (field order, two spaces, UTF-8, a final newline): what reads the same but is written
otherwise is refused, so that nobody's reader can differ from ours about what was signed. The signature (Ed25519,
RFC 8032) is over the same form without the signature itself.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from qreplica.license.errors import (
    LicenseAltered,
    LicenseExpired,
    LicenseNotYetValid,
    LicenseOfAnotherFeature,
    LicenseOfAnotherSubsystem,
    LicenseOfAnotherVendor,
    LicenseRepeats,
    LicenseTooLarge,
    LicenseTooNew,
    LicenseTruncated,
    NotALicense,
    SerialInvalid,
)
from qreplica.license.keys import fingerprint
from qreplica.license.reading import LIMIT
from qreplica.license.serial import check_serial

FEATURE: Final = "qreplica"
VERSION: Final = 1
_FORMAT: Final = "qreplica-license"
_HEAD = f'{{\n  "format": "{_FORMAT}",'
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _time(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        message = "it is not a time such as 2026-11-25T12:00:00Z"
        raise ValueError(message)
    return datetime.fromisoformat(value)


def _whole_second(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(microsecond=0)


def written(value: datetime) -> str:
    """Return a time as licenses have it."""
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _serial(value: str) -> str:
    try:
        return check_serial(value)
    except SerialInvalid as error:
        raise ValueError(error.sentence) from error


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        message = "it holds characters that cannot be printed, or begins or ends with a space"
        raise ValueError(message)
    return value


_Time = Annotated[
    datetime, BeforeValidator(_time), AfterValidator(_whole_second), PlainSerializer(written, when_used="json")
]


class License(BaseModel):
    """What a license says. ``key`` is the fingerprint of the key that signed it; None for a time is without limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["qreplica-license"] = _FORMAT
    version: Literal[1] = VERSION
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    serial: Annotated[str, AfterValidator(_serial)]
    feature: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] = FEATURE
    licensee: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
    issued_at: _Time
    not_before: _Time | None = None
    expires_at: _Time | None = None
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

    def check_for(self, serial: str) -> None:
        """Raise LicenseOfAnotherFeature or LicenseOfAnotherSubsystem unless it is for QReplica on that subsystem."""
        if self.feature != FEATURE:
            raise LicenseOfAnotherFeature(feature=self.feature, wanted=FEATURE)
        if self.serial != serial:
            raise LicenseOfAnotherSubsystem(found=self.serial, serial=serial)

    def check_at(self, now: datetime) -> None:
        """Raise LicenseNotYetValid or LicenseExpired unless it is valid at that time."""
        if self.not_before is not None and now < self.not_before:
            raise LicenseNotYetValid(not_before=written(self.not_before), now=written(now))
        if self.expires_at is not None and now >= self.expires_at:
            raise LicenseExpired(expires_at=written(self.expires_at), now=written(now))


def signed(license_: License, key: Ed25519PrivateKey) -> bytes:
    """Return the file of a license; ``license_.key`` must be the fingerprint of that key's public half."""
    return _form(license_, base64.b64encode(key.sign(_form(license_))).decode())


def genuine(content: bytes, trusted: Mapping[str, Ed25519PublicKey]) -> License:
    """Return what a file says, if it is byte for byte what one of the ``trusted`` keys (by fingerprint) signed.

    Raises LicenseTooLarge, NotALicense, LicenseTruncated, LicenseRepeats, LicenseTooNew, LicenseAltered,
    LicenseOfAnotherVendor; nothing else, whatever the bytes are.
    """
    license_, signature = read(content)
    key = trusted.get(license_.key)
    if key is None:
        raise LicenseOfAnotherVendor(key=license_.key, trusted=", ".join(sorted(trusted)) or "none")
    try:
        key.verify(signature, _form(license_))
    except InvalidSignature as error:
        raise LicenseAltered(reason="its signature does not fit") from error
    return license_


def read(content: bytes) -> tuple[License, bytes]:
    """Return what a file claims, and its signature, which is not looked at. Raises as ``genuine`` does."""
    values, repeated = _values(content)
    if values.get("format") != _FORMAT:
        raise NotALicense(reason=f"its format is not “{_FORMAT}”")
    if repeated:
        raise LicenseRepeats(field=_known(repeated[0]))
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise LicenseTooNew(version=version, known=VERSION)
    signature = values.pop("signature", None)
    try:
        license_ = License.model_validate(values)
        raw = base64.b64decode(signature if isinstance(signature, str) else "", validate=True)
    except ValidationError as error:
        place = next(iter(error.errors(include_input=False)[0]["loc"]), None)
        raise LicenseAltered(reason=f"its field “{_known(place)}” is not right") from error
    except ValueError as error:
        raise LicenseAltered(reason="its signature is none") from error
    form = _form(license_, base64.b64encode(raw).decode())
    if form != content:
        if form.startswith(content):
            raise LicenseTruncated
        raise LicenseAltered(reason="it is written in another form")
    return license_, raw


def _values(content: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a file, and the names of those that it has more than once."""
    if len(content) > LIMIT:
        raise LicenseTooLarge(limit=LIMIT)
    repeated: list[str] = []

    def collected(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        repeated.extend(name for name in found if sum(other == name for other, _ in pairs) > 1)
        return found

    begins = content.startswith(_HEAD.encode()) or (bool(content) and _HEAD.encode().startswith(content))
    try:
        values = json.loads(content.decode(), object_pairs_hook=collected)
    except (ValueError, RecursionError) as error:
        if not begins:
            raise NotALicense(reason="it is no JSON text") from error
        if not content.rstrip().endswith(b"}"):
            raise LicenseTruncated from error
        raise LicenseAltered(reason="it is no JSON text any more") from error
    if not isinstance(values, dict):
        raise NotALicense(reason="it is JSON, but no object")
    return values, repeated


def _known(name: object) -> str:
    """Return a field's name, if it is one of ours: anything else may hold anything."""
    return name if isinstance(name, str) and (name in License.model_fields or name == "signature") else "…"


def _form(license_: License, signature: str | None = None) -> bytes:
    values = license_.model_dump(mode="json") | ({} if signature is None else {"signature": signature})
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def fingerprint_of(key: Ed25519PrivateKey) -> str:
    """Return the fingerprint under which licenses name a private key's public half."""
    return fingerprint(key.public_key())
