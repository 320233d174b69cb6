"""The certificate that an administrator uploads for both controllers, and which one each of them shows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.access import certificate_pem
from qreplica.access.certificate_pem import Facts
from qreplica.access.errors import CertificateConfigured
from qreplica.events import log
from qreplica.state.access_models import UploadedCertificate
from qreplica.state.models import Controller, Severity

_ONE_ROW = 1
_SUBJECT = "certificate"


class Source(StrEnum):
    """Whose certificate a controller shows: of its configuration FILE, UPLOADED, or of its OWN making."""

    FILE = "file"
    UPLOADED = "uploaded"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a controller shows; ``next_fingerprint`` is what after its next start, None when that is not known."""

    number: int
    source: Source | None
    certificate: Facts | None
    next_fingerprint: str | None
    restart_needed: bool


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What was uploaded, if anything, and what the controllers show. ``message``: what an administrator should do."""

    message: str
    uploaded: Facts | None
    uploaded_at: datetime | None
    controllers: tuple[Shown, ...]


def upload(session: Session, chain: str, key: str, *, at: datetime, controller: int) -> None:
    """Keep a certificate, which both controllers show from their next start on. The same again changes nothing.

    Raises CertificateNotFit, and CertificateConfigured where a controller has one by its configuration file.
    """
    given = certificate_pem.fit(chain, key, at)
    for one in session.scalars(select(Controller).order_by(Controller.number)):
        if one.certificate_source == Source.FILE:
            raise CertificateConfigured(controller=one.number)
    row = session.get(UploadedCertificate, _ONE_ROW)
    if row is not None and row.chain == given.chain:
        return
    if row is None:
        row = UploadedCertificate(id=_ONE_ROW)
        session.add(row)
    row.chain, row.key, row.uploaded_at = given.chain, given.key, at
    facts = given.facts
    message = (
        f"A TLS certificate of {facts.subject}, signed by {facts.issuer}, valid until {facts.ends_at:%Y-%m-%d} "
        f"(SHA-256 {facts.fingerprint}), was uploaded: each controller shows it from its next start on."
    )
    log.record(session, Severity.INFO, "certificate-uploaded", _SUBJECT, message, controller=controller)


def forget(session: Session, *, controller: int) -> None:
    """Have each controller show one of its own making again from its next start on. Idempotent."""
    row = session.get(UploadedCertificate, _ONE_ROW)
    if row is not None:
        session.delete(row)
        message = (
            "The TLS certificate that was uploaded is deleted: each controller shows its own from its next start on."
        )
        log.record(session, Severity.INFO, "certificate-deleted", _SUBJECT, message, controller=controller)


def uploaded(session: Session) -> tuple[str, str] | None:
    """Return chain and key of what was uploaded, None when nothing is. Raises SecretUnreadable."""
    row = session.get(UploadedCertificate, _ONE_ROW)
    return None if row is None else (row.chain, row.key)


def status(session: Session, own: Callable[[int], str | None], *, controller: int) -> CertificateStatus:
    """Return how it stands; ``own`` tells the fingerprint of what a controller has made itself, if it has.

    ``controller`` is the one that is asked. One that was ended in order needs no restart.
    """
    columns = (UploadedCertificate.chain, UploadedCertificate.uploaded_at)  # not the key, which may be unreadable
    row = session.execute(select(*columns)).one_or_none()
    kept = None if row is None else certificate_pem.facts_of(row.chain)
    shown = tuple(
        _shown(one, None if kept is None else kept.fingerprint, own, runs=one.number == controller)
        for one in session.scalars(select(Controller).order_by(Controller.number))
    )
    return CertificateStatus(
        message=_message(kept, needs_restart=any(one.restart_needed for one in shown)),
        uploaded=kept,
        uploaded_at=None if row is None else row.uploaded_at,
        controllers=shown,
    )


def _shown(one: Controller, kept: str | None, own: Callable[[int], str | None], *, runs: bool) -> Shown:
    source = None if one.certificate_source is None else Source(one.certificate_source)
    facts = None if one.certificate is None else certificate_pem.facts_of(one.certificate)
    if source is None or source is Source.FILE:
        following = one.fingerprint
    elif kept is not None:
        following = kept
    else:
        following = one.fingerprint if source is Source.OWN else own(one.number)
    needed = source is not None and following != one.fingerprint and (runs or one.heartbeat_at is not None)
    return Shown(one.number, source, facts, following, needed)


def _message(kept: Facts | None, *, needs_restart: bool) -> str:
    what = (
        "Each controller shows a certificate of its own making, or of its configuration"
        if kept is None
        else f"The certificate of {kept.subject}, valid until {kept.ends_at:%Y-%m-%d}, is the subsystem's"
    )
    if not needs_restart:
        return f"{what}."
    return f"{what}, when it was restarted: “qreplica subsystem restart”."
