"""What a TLS certificate says, and whether one that somebody gives can be shown: no state, nothing of a daemon."""

import contextlib
import itertools
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from qreplica import fingerprints
from qreplica.access.errors import CertificateNotFit

#: Bits of the shortest keys that are taken (NIST SP 800-57, 112 bits of security and more).
_LEAST_RSA, _LEAST_CURVE = 2048, 256
_LONGEST_CHAIN = 10
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
#: What the library raises on what is none, or holds something that nobody writes.
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_SPKI: Final = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says: whose it is and by which ``names`` it may be reached, who signed it, and until when."""

    subject: str
    names: tuple[str, ...]
    issuer: str
    begins_at: datetime
    ends_at: datetime
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Fit:
    """A certificate that can be shown, with those of its issuers, and its key: PEM, and nothing else in it."""

    chain: str
    key: str = field(repr=False)
    facts: Facts


def facts_of(pem: str) -> Facts:
    """Return what the first certificate of a text says. Raises ValueError where there is none."""
    try:
        return _facts(x509.load_pem_x509_certificates(pem.encode())[0])
    except _MALFORMED as error:
        raise ValueError(str(error)) from error


def fit(chain: str, key: str, at: datetime) -> Fit:
    """Return what somebody gives, if it can be shown at that time. Raises CertificateNotFit.

    The chain begins with the certificate of its own, and each is signed by the next; all are valid and strong enough;
    the key is the first one's and not encrypted; OpenSSL takes both.
    """
    private = _private_key(key)
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        checked = _checked(certificates, private, at)
    except CertificateNotFit:
        raise
    except _MALFORMED as error:
        raise CertificateNotFit(reason="it holds no certificate in PEM form, or one that cannot be read") from error
    text = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)
    kept = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with in_memory(kept + text) as file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
        except ssl.SSLError as error:
            raise CertificateNotFit(reason=f"OpenSSL refuses it ({error.reason})") from error
    return Fit(text, kept, checked)


def memory_file(text: str) -> int:
    """Return the descriptor, which the caller closes, of a file that is in memory alone and holds the text.

    As ``/proc/self/fd/N`` it is one for those that take no text; only we may read it.
    """
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "w", closefd=False) as stream:
            stream.write(text)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def in_memory(text: str) -> Iterator[Path]:
    """Give the path of a file that is in memory alone and holds the text."""
    descriptor = memory_file(text)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _private_key(text: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key: PrivateKeyTypes = serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError as error:
        reason = "the key is encrypted, and nobody is there to type its password when a controller starts"
        raise CertificateNotFit(reason=reason) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateNotFit(reason="there is no key in PEM form with it, or one that cannot be read") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise CertificateNotFit(reason="its key is neither RSA nor ECDSA nor Ed25519")
    return key


def _checked(certificates: Sequence[x509.Certificate], private: PrivateKeyTypes, at: datetime) -> Facts:
    first = certificates[0]
    if private.public_key().public_bytes(*_SPKI) != first.public_key().public_bytes(*_SPKI):
        raise CertificateNotFit(reason="the key is not that of the first certificate")
    if len(certificates) > _LONGEST_CHAIN:
        raise CertificateNotFit(reason=f"it has {len(certificates)} certificates, and {_LONGEST_CHAIN} are the most")
    for one in certificates:
        _check_alone(one, at)
    for one, issuer in itertools.pairwise(certificates):
        _check_issued(one, issuer)
    _check_for_servers(first)
    return _facts(first)


def _check_alone(one: x509.Certificate, at: datetime) -> None:
    whose = _name(one.subject)
    if at < one.not_valid_before_utc:
        raise CertificateNotFit(
            reason=f"that of {whose} is valid from {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        )
    if at >= one.not_valid_after_utc:
        raise CertificateNotFit(reason=f"that of {whose} ended {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    key = one.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        is_strong = key.key_size >= _LEAST_RSA
    elif isinstance(key, ec.EllipticCurvePublicKey):
        is_strong = key.curve.key_size >= _LEAST_CURVE
    else:
        is_strong = isinstance(key, ed25519.Ed25519PublicKey)
    if not is_strong:
        least = f"RSA of {_LEAST_RSA} bits, ECDSA of {_LEAST_CURVE} or Ed25519"
        raise CertificateNotFit(reason=f"the key of {whose}, {_key(one)}, is weaker than {least}")
    used = one.signature_hash_algorithm
    if used is not None and used.name in _WEAK_HASHES and one.subject != one.issuer:
        raise CertificateNotFit(reason=f"that of {whose} is signed by way of {used.name.upper()}, which can be forged")


def _check_issued(one: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        reason = (
            f"that of {_name(one.subject)} is not signed by the next, {_name(issuer.subject)} (the order is: its own "
            "first, then each one's issuer)"
        )
        raise CertificateNotFit(reason=reason) from error
    try:
        is_authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority or one == issuer:
        raise CertificateNotFit(reason=f"{_name(issuer.subject)}, which follows as an issuer, is no other authority's")


def _check_for_servers(first: x509.Certificate) -> None:
    try:
        usage = first.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise CertificateNotFit(reason="it is not for servers (its extended key usage lacks serverAuth)")


def _facts(one: x509.Certificate) -> Facts:
    return Facts(
        subject=_name(one.subject),
        names=_names(one),
        issuer=_name(one.issuer),
        begins_at=one.not_valid_before_utc,
        ends_at=one.not_valid_after_utc,
        key=_key(one),
        fingerprint=fingerprints.of(one.public_bytes(serialization.Encoding.DER)),
    )


def _name(name: x509.Name) -> str:
    """Return the common name, or all of it where it has none."""
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    text = common[0].value if common else name.rfc4514_string()
    return f"“{text if isinstance(text, str) else text.decode(errors='replace')}”"


def _names(one: x509.Certificate) -> tuple[str, ...]:
    try:
        found = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def _key(one: x509.Certificate) -> str:
    key = one.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__
