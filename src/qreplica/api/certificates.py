"""The TLS certificate of the management API."""

from typing import Annotated, Self

from pydantic import Field, SecretStr

from qreplica.access import certificates
from qreplica.access.certificates import CertificateStatus, Source
from qreplica.access.errors import TlsOff
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, Time, example
from qreplica.api.problems import problems
from qreplica.daemon import certificate
from qreplica.daemon.services import Services
from qreplica.errors import QReplicaError
from qreplica.state.models import now

router = administered("/certificate", "subsystem")

_FINGERPRINT = ":".join(["5D", "1F", "4B", "0C"] * 8)
_FACTS = {
    "subject": "“box.example.org”",
    "names": ["box.example.org", "192.0.2.1"],
    "issuer": "“Example CA”",
    "begins_at": "2026-11-01T00:00:00.000Z",
    "ends_at": "2027-11-01T00:00:00.000Z",
    "key": "ECDSA secp256r1",
    "fingerprint": _FINGERPRINT,
}


class CertificateFacts(Answer):
    """What a certificate says."""

    subject: str
    names: Annotated[list[str], Field(description="The host names and addresses that it is for")]
    issuer: Annotated[str, Field(description="Who signed it; as `subject` when nobody else did")]
    begins_at: Time
    ends_at: Time
    key: str
    fingerprint: Annotated[str, Field(description="SHA-256")]


class CertificateOnController(Answer):
    """What a controller shows."""

    number: int
    source: Annotated[
        Source | None,
        Field(description="`file`: its configuration names it. `own`: it made it. Null: it speaks no TLS"),
    ]
    certificate: CertificateFacts | None
    next_fingerprint: Annotated[str | None, Field(description="Of what it shows after a restart; null: not known yet")]
    restart_needed: bool


class CertificateAnswer(Answer):
    """The certificate that was uploaded, and what each controller shows."""

    model_config = example(
        {
            "message": "The certificate of “box.example.org”, valid until 2027-11-01, is the subsystem's.",
            "uploaded": _FACTS,
            "uploaded_at": "2026-11-02T09:00:00.000Z",
            "controllers": [
                {
                    "number": 1,
                    "source": "uploaded",
                    "certificate": _FACTS,
                    "next_fingerprint": _FINGERPRINT,
                    "restart_needed": False,
                }
            ],
        }
    )
    message: Annotated[str, Field(description="What an administrator should know or do")]
    uploaded: Annotated[CertificateFacts | None, Field(description="Null when none was uploaded")]
    uploaded_at: Time | None
    controllers: list[CertificateOnController]

    @classmethod
    def of(cls, status: CertificateStatus) -> Self:
        """Return the answer that shows it."""
        return cls.model_validate(status)


class CertificateRequest(Strict):
    """A certificate and its key."""

    model_config = example({"certificate": "-----BEGIN CERTIFICATE-----\n…", "key": "-----BEGIN PRIVATE KEY-----\n…"})
    certificate: Annotated[
        SecretStr,
        Field(
            min_length=1,
            max_length=48 * 1024,
            description="PEM: its own first, then that of who signed it, and so on; the audit log does not keep it",
        ),
    ]
    key: Annotated[SecretStr, Field(min_length=1, max_length=12 * 1024, description="PEM, not encrypted; write-only")]


@router.get("", summary="Show the certificate", responses=problems())
def show_certificate(services: TheServices) -> CertificateAnswer:
    """Show the TLS certificate that was uploaded, and what each controller shows now and after its next start."""
    with services.database.session(read_only=True) as session:
        return CertificateAnswer.of(
            certificates.status(session, lambda number: _own(services, number), controller=services.config.controller)
        )


@router.put("", summary="Upload a certificate", responses=problems(409, 413))
def upload_certificate(request: CertificateRequest, services: TheServices) -> CertificateAnswer:
    """Give both controllers a TLS certificate, which each shows from its next start on.

    Refused, and nothing changed, unless each certificate is signed by the next, all are valid and their keys strong
    enough (RSA of 2048 bits, ECDSA of 256, Ed25519), and the key is the first one's. It is kept encrypted.
    """
    config = services.config
    if not config.tls:
        raise TlsOff(controller=config.controller)
    chain, key = request.certificate.get_secret_value(), request.key.get_secret_value()
    with services.database.session() as session:
        certificates.upload(session, chain, key, at=now(), controller=config.controller)
    return show_certificate(services)


@router.delete("", summary="Delete the certificate", responses=problems())
def delete_certificate(services: TheServices) -> CertificateAnswer:
    """Have each controller show a certificate of its own making again, from its next start on. The key is gone."""
    with services.database.session() as session:
        certificates.forget(session, controller=services.config.controller)
    return show_certificate(services)


def _own(services: Services, number: int) -> str | None:
    """Return the fingerprint of the certificate that a controller has made itself, None where that cannot be used."""
    try:
        return certificate.of_own(services.config.state_dir, number).fingerprint
    except QReplicaError:
        return None
