"""Certificates as administrators bring them."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Signer:
    """An authority, whose certificate is in ``file``."""

    key: Key
    name: x509.Name
    file: Path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def authority(directory: Path, called: str = "An authority", signer: Signer | None = None) -> Signer:
    """Make an authority, whose certificate it signs itself unless another one does."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name(called)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.name if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - dt.timedelta(days=1))
        .not_valid_after(now() + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signer.key if signer else key, hashes.SHA256())
    )
    file = directory / f"{called}.pem"
    file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    return Signer(key, name, file)


def bring(
    directory: Path,
    *,
    since: dt.timedelta = dt.timedelta(days=-1),
    until: dt.timedelta = dt.timedelta(days=90),
    signer: Signer | None = None,
    key: Key | None = None,
    host: str = "localhost",
    password: bytes | None = None,
    usage: x509.ObjectIdentifier | None = None,
) -> tuple[Path, Path]:
    """Write a certificate and its key, and return both files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = _name(host)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.name if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + since)
        .not_valid_after(now() + until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signing = signer.key if signer else key
    without = isinstance(signing, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    built = builder.sign(signing, None if without else hashes.SHA256())
    certificate_file, key_file = directory / "shown.crt", directory / "shown.key"
    certificate_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    kept: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        kept = serialization.BestAvailableEncryption(password)
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept))
    key_file.chmod(0o600)
    return certificate_file, key_file
