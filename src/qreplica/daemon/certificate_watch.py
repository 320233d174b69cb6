"""Has it told in time that the TLS certificate that a controller shows will end, and that it has."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from qreplica.access import certificate_pem
from qreplica.access.certificate_pem import Facts
from qreplica.access.certificates import Source
from qreplica.daemon.background import Regular
from qreplica.daemon.certificate import Identity
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Controller, Severity, now

_EVERY = 60.0
#: How many days before its end that is told; 0 when it has ended.
_STAGES = (0, 7, 30)
_REMEDIES = {
    Source.FILE: "put another one into its file and restart the controller",
    Source.UPLOADED: "upload another one (“qreplica certificate upload”) and restart the subsystem",
    Source.OWN: "a restart of the controller after its end makes another one",
}


def note(controller: Controller, shown: Identity | None) -> None:
    """Write down what the controller shows; of the end of one that it showed before was told already."""
    fingerprint = None if shown is None else shown.fingerprint
    if controller.fingerprint != fingerprint:
        controller.certificate_told = None
    controller.fingerprint = fingerprint
    controller.certificate = None if shown is None else shown.pem
    controller.certificate_source = None if shown is None else shown.source.value


class CertificateWatch(Regular):
    """The thread that looks once a minute; ``clock`` tells the time (UTC)."""

    def __init__(self, database: Database, controller: int, clock: Callable[[], datetime] = now) -> None:
        super().__init__("certificate", _EVERY, "certificate not looked at", at_once=True)
        self._database = database
        self._controller = controller
        self._clock = clock

    def round(self) -> None:
        """Look once. Raises what the database does."""
        with self._database.session(read_only=True) as session:
            if self._due(session) is None:
                return
        with self._database.session() as session:
            due = self._due(session)
            if due is not None:
                self._tell(session, *due)

    def _due(self, session: Session) -> tuple[Controller, Facts, int] | None:
        """Return the certificate of whose end is to be told, and how many days before; None when none is."""
        row = session.get(Controller, self._controller)
        if row is None or row.certificate is None:
            return None
        facts = certificate_pem.facts_of(row.certificate)
        left = facts.ends_at - self._clock()
        stage = next((days for days in _STAGES if left <= timedelta(days=days)), None)
        is_news = stage is not None and (row.certificate_told is None or stage < row.certificate_told)
        return (row, facts, stage) if stage is not None and is_news else None

    def _tell(self, session: Session, row: Controller, facts: Facts, stage: int) -> None:
        row.certificate_told = stage
        remedy = _REMEDIES[Source(row.certificate_source or Source.OWN)]
        ended = stage == 0
        ends = "ended" if ended else "ends"
        message = (
            f"The TLS certificate of controller {row.number}, of {facts.subject} (SHA-256 {facts.fingerprint}), {ends} "
            f"{facts.ends_at:%Y-%m-%d %H:%M} UTC: {remedy}."
        )
        severity = Severity.ERROR if ended else Severity.WARNING
        kind = "certificate-ended" if ended else "certificate-ends"
        log.record(session, severity, kind, f"controller {row.number}", message, controller=row.number)
