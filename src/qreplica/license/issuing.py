"""The vendor's side: makes licenses."""

import uuid
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from qreplica.license.document import License, fingerprint_of, signed, written
from qreplica.license.errors import TermInvalid
from qreplica.license.serial import check_serial

#: The longest term that is counted in days: a hundred years.
LONGEST_DAYS = 36_525


def issue(
    key: Ed25519PrivateKey,
    *,
    serial: str,
    licensee: str,
    now: datetime,
    not_before: datetime | None = None,
    expires_at: datetime | None = None,
    days: int | None = None,
) -> bytes:
    """Return the file of a license for the subsystem with that serial number.

    It is valid from ``not_before`` (None: always) until ``expires_at``, or for so many ``days`` from its beginning;
    neither: without end. Raises SerialInvalid, TermInvalid.
    """
    number = check_serial(serial)
    if days is not None and expires_at is not None:
        raise TermInvalid(reason="both a number of days and an end are given")
    if days is not None:
        if not 1 <= days <= LONGEST_DAYS:
            raise TermInvalid(reason=f"{days} days are not between 1 and {LONGEST_DAYS}")
        expires_at = (not_before or now) + timedelta(days=days)
    if expires_at is not None and expires_at <= max(not_before or now, now):
        raise TermInvalid(reason=f"it would have expired at {written(expires_at)} already")
    try:
        license_ = License(
            id=uuid.uuid4().hex,
            serial=number,
            licensee=licensee,
            issued_at=now,
            not_before=not_before,
            expires_at=expires_at,
            key=fingerprint_of(key),
        )
    except ValidationError as error:
        raise TermInvalid(reason="the licensee's name must have 1 to 200 printable characters") from error
    return signed(license_, key)
