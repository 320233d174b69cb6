"""The vendor's Ed25519 keys (RFC 8032) in PEM files: the private one signs, the public ones are trusted."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from qreplica.license.errors import FileNotWritten, LicenseKeyUnusable, SigningKeyUnusable

_LARGEST = 16 * 1024
_FINGERPRINT = 16


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return what names a key: the first 64 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:_FINGERPRINT]


def trusted(files: Sequence[Path]) -> dict[str, Ed25519PublicKey]:
    """Return the public keys of PEM files by their fingerprints. Raises LicenseKeyUnusable."""
    return {fingerprint(key): key for key in map(_public, files)}


def _public(file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(_read(file))
    except OSError as error:
        raise LicenseKeyUnusable(file=file, reason=error.strerror) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LicenseKeyUnusable(file=file, reason="it holds no public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise LicenseKeyUnusable(file=file, reason="its key is of another kind than Ed25519")
    return key


def private(file: Path, ask_passphrase: Callable[[], str]) -> Ed25519PrivateKey:
    """Return the private key in a file; ``ask_passphrase`` is called if it is encrypted. Raises SigningKeyUnusable."""
    try:
        content = _read(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SigningKeyUnusable(file=file, reason=reason) from error
    passphrase = None
    if b"ENCRYPTED" in content:
        passphrase = ask_passphrase().encode()
    try:
        key = load_pem_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "it holds no private key in PEM form" if passphrase is None else "the passphrase does not open it"
        raise SigningKeyUnusable(file=file, reason=reason) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyUnusable(file=file, reason="its key is of another kind than Ed25519")
    return key


def make_pair(private_file: Path, public_file: Path, passphrase: str | None) -> str:
    """Write a fresh pair, the private half for its owner alone, and return its fingerprint.

    What is there is never overwritten; a failure leaves neither. Raises FileNotWritten.
    """
    key = Ed25519PrivateKey.generate()
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    write_new(private_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), mode=0o600)
    try:
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_new(public_file, public, mode=0o644)
    except BaseException:
        private_file.unlink()
        raise
    return fingerprint(key.public_key())


def write_new(file: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not be there yet; a failure leaves none. Raises FileNotWritten."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise FileNotWritten(file=file, reason=error.strerror) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink()
        raise FileNotWritten(file=file, reason=error.strerror) from error


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        message = "it is too large for a key"
        raise ValueError(message)
    return content
