"""The certificate that a controller's management API shows: its configuration's, the uploaded, or one of its own."""

import datetime as dt
import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from qreplica import fingerprints
from qreplica.access import certificate_pem, certificates
from qreplica.access.certificates import Source
from qreplica.daemon.config import Config
from qreplica.errors import Invalid, QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity

#: How long one of our own making is valid. Clients know it by its fingerprint, so that a new one is a nuisance.
_VALID = dt.timedelta(days=3652)
#: Clocks of clients may be late.
_EARLIER = dt.timedelta(days=1)


class CertificateUnusable(Invalid):
    """The certificate or its key cannot be used."""

    kind = "certificate-unusable"
    template = (
        "The TLS certificate {certificate} with the key {key} cannot be used because {reason}: correct tls_certificate "
        "and tls_key of the configuration, or take them out to have one made, and start qreplicad again."
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate (with the chain to its issuer) and its key, both checked; ``ends`` is when it ends.

    ``pem`` is the certificate alone.
    """

    certificate: Path
    key: Path
    fingerprint: str
    ends: dt.datetime
    pem: str
    source: Source


def of_own(state_dir: Path, controller: int) -> Identity:
    """Return the certificate of its own making that a controller has. Raises CertificateUnusable."""
    file = _own_file(state_dir, controller)
    return checked(file, file, Source.OWN)


def choose(config: Config, database: Database, addresses: Iterable[str]) -> Identity | None:
    """Return what the management API at ``addresses`` proves itself by: see ``identity``, and before it the uploaded.

    One that was uploaded and has ended is shown all the same, since whoever knows it by its fingerprint goes on, and
    may upload another. One that cannot be used any more is told of by an event. Raises CertificateUnusable.
    """
    if not config.tls or config.tls_certificate is not None:
        return identity(config, addresses)
    try:
        with database.session(read_only=True) as session:
            given = certificates.uploaded(session)
        if given is not None:
            chain, key = given
            # Open as long as the daemon is: the server reads it when it starts.
            file = Path(f"/proc/self/fd/{certificate_pem.memory_file(key + chain)}")
            return checked(file, file, Source.UPLOADED, though_ended=True)
    except QReplicaError as error:
        message = f"The TLS certificate that was uploaded is not shown, because it cannot be used: {error.sentence}"
        with database.session() as session:
            subject = f"controller {config.controller}"
            log.record(session, Severity.ERROR, "certificate-not-shown", subject, message, controller=config.controller)
    return identity(config, addresses)


def identity(config: Config, addresses: Iterable[str]) -> Identity | None:
    """Return what the management API at ``addresses`` proves itself by, None without TLS.

    Where none is configured one is made, once, and again when it has ended. Raises CertificateUnusable.
    """
    if not config.tls:
        return None
    if config.tls_certificate is not None and config.tls_key is not None:
        return checked(config.tls_certificate, config.tls_key, Source.FILE)
    file = _own_file(config.state_dir, config.controller)
    if not file.exists() or _first(file, file).not_valid_after_utc <= _now():
        _make(file, addresses)
    return of_own(config.state_dir, config.controller)


def checked(certificate: Path, key: Path, source: Source = Source.FILE, *, though_ended: bool = False) -> Identity:
    """Return the identity in the two files, which may be one. Raises CertificateUnusable.

    The key is private, unencrypted and the certificate's; the certificate is valid now, or has been if
    ``though_ended``; OpenSSL takes both.
    """

    def refuse(reason: object) -> CertificateUnusable:
        return CertificateUnusable(certificate=certificate, key=key, reason=reason)

    shown = _first(certificate, key)
    if _spki(_private_key(certificate, key)) != shown.public_key().public_bytes(*_SPKI):
        raise refuse("the key is not the certificate's")
    if _now() < shown.not_valid_before_utc:
        raise refuse(f"it is not valid before {shown.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if _now() >= shown.not_valid_after_utc and not though_ended:
        raise refuse(f"it ended {shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise refuse(f"OpenSSL refuses it ({error.reason})") from error
    shown_bytes = shown.public_bytes(serialization.Encoding.DER)
    pem = shown.public_bytes(serialization.Encoding.PEM).decode()
    return Identity(certificate, key, fingerprints.of(shown_bytes), shown.not_valid_after_utc, pem, source)


def _own_file(state_dir: Path, controller: int) -> Path:
    """Return the file that holds certificate and key: one file, so that they always match."""
    return state_dir / "tls" / f"controller-{controller}.pem"


_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _first(certificate: Path, key: Path) -> x509.Certificate:
    """Return the first certificate of the file, which is the controller's; those of its issuers may follow."""
    try:
        return x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except OSError as error:
        reason = f"the certificate cannot be read ({error.strerror})"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason) from error
    except ValueError as error:
        reason = "the certificate's file holds none in PEM form"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason) from error


def _private_key(certificate: Path, key: Path) -> PrivateKeyTypes:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        text = key.read_bytes()
    except OSError as error:
        reason = f"the key cannot be read ({error.strerror})"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        reason = f"others than its owner may read the key (its mode is {mode:04o} and must be 0600)"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason)
    try:
        return serialization.load_pem_private_key(text, password=None)
    except TypeError as error:
        reason = "the key is encrypted, and nobody is there to type its password"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason) from error
    except ValueError as error:
        reason = "the key's file holds none in PEM form"
        raise CertificateUnusable(certificate=certificate, key=key, reason=reason) from error


def _spki(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(*_SPKI)


def _make(file: Path, addresses: Iterable[str]) -> None:
    """Write a fresh key (EC P-256) and a certificate signed by it, whole or not at all."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "QReplica management")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _EARLIER)
        .not_valid_after(_now() + _VALID)
        .add_extension(x509.SubjectAlternativeName(_names(addresses)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def _names(addresses: Iterable[str]) -> list[x509.GeneralName]:
    """Return by what the controller is reached: its addresses, all of the machine's for 0.0.0.0, and its host name."""
    found = {"127.0.0.1"}
    for address in addresses:
        found |= set(_of_this_machine()) if ipaddress.ip_address(address).is_unspecified else {address}
    hosts = {"localhost", socket.gethostname()}
    dns = [x509.DNSName(host) for host in sorted(hosts) if host.isascii()]
    return [*dns, *(x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(found))]


def _of_this_machine() -> Iterable[str]:
    for interface in psutil.net_if_addrs().values():
        yield from (one.address for one in interface if one.family == socket.AF_INET)
