"""Reads a license file from where somebody has it."""

from pathlib import Path
from typing import Final

from qreplica.license.errors import LicenseTooLarge, LicenseUnreadable

#: The largest file that is looked at, in bytes; a license has less than a tenth of it.
LIMIT: Final = 16 * 1024


def content_of(file: Path) -> bytes:
    """Return the bytes of a license file. Raises LicenseUnreadable, LicenseTooLarge."""
    try:
        with file.open("rb") as stream:
            content = stream.read(LIMIT + 1)
    except OSError as error:
        raise LicenseUnreadable(file=file, reason=error.strerror) from error
    if len(content) > LIMIT:
        raise LicenseTooLarge(limit=LIMIT)
    return content
