"""How a TLS certificate is told from another: the SHA-256 of its DER form, as openssl(1) writes it."""

import hashlib
import re

from qreplica.errors import Invalid


class NotAFingerprint(Invalid):
    """A text that cannot be a certificate's fingerprint."""

    kind = "not-a-fingerprint"
    template = (
        "“{text}” is not a SHA-256 fingerprint: write its 64 hexadecimal digits, with or without “:” in between, as "
        "qreplicad logs it."
    )


def of(certificate: bytes) -> str:
    """Return the fingerprint of a certificate in DER form: ``AB:CD:…``."""
    return _written(hashlib.sha256(certificate).digest())


def normal(text: str) -> str:
    """Return a fingerprint as ``of`` writes it. Raises NotAFingerprint."""
    digits = text.strip().removeprefix("sha256:").removeprefix("SHA256:").replace(":", "")
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise NotAFingerprint(text=text)
    return _written(bytes.fromhex(digits))


def _written(digest: bytes) -> str:
    return digest.hex(":", 1).upper()
