"""The license of this subsystem, as one of its controllers has it: in force from the start of its daemon on.

Whoever begins or changes replication calls ``require`` first; nothing else decides. What runs is not asked, so that a
cycle under way is finished.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.license import document, keys
from qreplica.license.document import License, written
from qreplica.license.errors import (
    LicenseExpired,
    LicenseNotBegun,
    LicenseNotYetValid,
    LicenseRanOut,
    NotLicensed,
    NoVendorTrusted,
    RestartNeeded,
)
from qreplica.state.database import Database
from qreplica.state.models import Controller, LicenseKey, Severity, Subsystem, now

#: How long before a license expires that is told.
WARNING = timedelta(days=30)
_SUBJECT = "license"


class LicenseState(StrEnum):
    """IN_FORCE: on every controller. NEEDS_RESTART: not on all yet. The others: on none, by the license itself."""

    NONE = "none"
    NEEDS_RESTART = "needs-restart"
    IN_FORCE = "in-force"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class OnController:
    """How a controller stands to the license: whether any is in force there, and whether the latest needs a restart.

    One that does not run needs none, since it takes the latest when it starts.
    """

    number: int
    in_force: bool
    restart_needed: bool


@dataclass(frozen=True, slots=True)
class LicenseStatus:
    """The license uploaded last; ``message`` is what an administrator should know or do."""

    serial: str
    state: LicenseState
    message: str
    license: License | None
    uploaded_at: datetime | None
    controllers: tuple[OnController, ...]


class Licensing:
    """``key_files`` are the public keys of the vendors that are trusted, ``clock`` tells the time (UTC)."""

    def __init__(
        self, database: Database, key_files: Sequence[Path], controller: int, clock: Callable[[], datetime] = now
    ) -> None:
        self._database = database
        self._key_files = key_files
        self._controller = controller
        self._clock = clock
        self._license: License | None = None

    def begin(self) -> None:
        """Take the license that was uploaded last into force. To be called once, when the daemon starts.

        One that is not genuine any more, since the key is not trusted, or that belongs to another subsystem, since the
        state was copied from there, is told of by an event and left aside.
        """
        with self._database.session() as session:
            row = _latest(session)
            self._license = None if row is None else self._taken(session, row)
            controller = session.get(Controller, self._controller)
            if controller is not None:
                controller.license_id = None if self._license is None else self._license.id

    def _taken(self, session: Session, row: LicenseKey) -> License | None:
        try:
            found = self._genuine(row.document.encode())
            found.check_for(_serial(session))
        except QReplicaError as error:
            message = f"The license is not in force, because it cannot be trusted: {error.sentence}"
            self._record(session, Severity.ERROR, "license-not-trusted", message)
            return None
        return found

    def _genuine(self, content: bytes) -> License:
        if not self._key_files:
            raise NoVendorTrusted
        return document.genuine(content, keys.trusted(self._key_files))

    def upload(self, content: bytes) -> LicenseStatus:
        """Keep a license file, which takes effect at the next start of each controller. The same again does nothing.

        Raises what ``document.genuine`` does, NoVendorTrusted, LicenseKeyUnusable, LicenseOfAnotherFeature,
        LicenseOfAnotherSubsystem, LicenseNotYetValid, LicenseExpired; then nothing was changed.
        """
        found = self._genuine(content)
        with self._database.session() as session:
            found.check_for(_serial(session))
            found.check_at(self._clock())
            present = _latest(session)
            if present is None or present.id != found.id:
                self._keep(session, found, content)
        return self.status()

    def _keep(self, session: Session, found: License, content: bytes) -> None:
        number = (session.scalar(select(func.max(LicenseKey.number))) or 0) + 1
        row = session.get(LicenseKey, found.id)
        if row is None:
            session.add(LicenseKey(id=found.id, number=number, document=content.decode(), uploaded_at=self._clock()))
        else:
            row.number, row.uploaded_at = number, self._clock()
        term = "without end" if found.expires_at is None else f"until {written(found.expires_at)}"
        message = f"The license of {found.licensee}, valid {term}, was uploaded: it takes effect by a restart."
        self._record(session, Severity.INFO, "license-activated", message)

    def require(self) -> None:
        """Raise NotLicensed (as RestartNeeded, LicenseRanOut or LicenseNotBegun) unless a license is in force here."""
        obstacle = self.obstacle()
        if obstacle is not None:
            raise obstacle

    def obstacle(self) -> NotLicensed | None:
        """Return why no cycle may begin on this controller, None when a license is in force."""
        own = _obstacle(self._license, self._clock())
        if self._license is not None and own is None:
            return None
        with self._database.session(read_only=True) as session:
            row, serial = _latest(session), _serial(session)
        if row is not None and (self._license is None or row.id != self._license.id):
            return RestartNeeded(controller=self._controller)
        if isinstance(own, LicenseExpired):
            return LicenseRanOut(serial=serial, **own.fields)
        if isinstance(own, LicenseNotYetValid):
            return LicenseNotBegun(**own.fields)
        return NotLicensed(serial=serial)

    def status(self) -> LicenseStatus:
        """Return what there is to know about the license."""
        at = self._clock()
        with self._database.session(read_only=True) as session:
            row, serial = _latest(session), _serial(session)
            controllers = [
                OnController(
                    number=one.number,
                    in_force=_is_in_force(session, one.license_id, at),
                    restart_needed=row is not None and one.license_id != row.id and self._runs(one),
                )
                for one in session.scalars(select(Controller).order_by(Controller.number))
            ]
        latest = _said(row)
        state = _state(latest, controllers, at)
        return LicenseStatus(
            serial=serial,
            state=state,
            message=_message(state, serial, latest),
            license=latest,
            uploaded_at=None if row is None else row.uploaded_at,
            controllers=tuple(controllers),
        )

    def _runs(self, controller: Controller) -> bool:
        """Whether a controller was not ended in order: the start of one that was makes a restart needless."""
        return controller.number == self._controller or controller.heartbeat_at is not None

    def tell(self) -> None:
        """Write events, once, when the license will expire within 30 days, and when it has. To be called often."""
        at = self._clock()
        with self._database.session(read_only=True) as session:
            if not _is_news(_latest(session), at):
                return
        with self._database.session() as session:
            row = _latest(session)
            news = _is_news(row, at)
            if row is None or news is None:
                return
            severity, kind, message = news
            row.warned, row.expiry_told = True, kind == "license-expired"
            self._record(session, severity, kind, message)

    def _record(self, session: Session, severity: Severity, kind: str, message: str) -> None:
        log.record(session, severity, kind, _SUBJECT, message, controller=self._controller)


def _latest(session: Session) -> LicenseKey | None:
    return session.scalar(select(LicenseKey).order_by(LicenseKey.number.desc()).limit(1))


def _serial(session: Session) -> str:
    return session.scalars(select(Subsystem.serial)).one()


def _obstacle(found: License | None, at: datetime) -> QReplicaError | None:
    """Return why a license is not valid at a time, None when it is or there is none."""
    if found is not None:
        try:
            found.check_at(at)
        except (LicenseNotYetValid, LicenseExpired) as error:
            return error
    return None


def _is_in_force(session: Session, license_id: str | None, at: datetime) -> bool:
    found = None if license_id is None else _said(session.get(LicenseKey, license_id))
    return found is not None and _obstacle(found, at) is None


def _said(row: LicenseKey | None) -> License | None:
    """Return what a license says that was found genuine once; None where the database was damaged since."""
    try:
        return None if row is None else document.read(row.document.encode())[0]
    except QReplicaError:
        return None


def _state(latest: License | None, controllers: Sequence[OnController], at: datetime) -> LicenseState:
    if latest is None:
        return LicenseState.NONE
    obstacle = _obstacle(latest, at)
    if isinstance(obstacle, LicenseExpired):
        return LicenseState.EXPIRED
    if obstacle is not None:
        return LicenseState.NOT_YET_VALID
    return LicenseState.NEEDS_RESTART if any(one.restart_needed for one in controllers) else LicenseState.IN_FORCE


def _message(state: LicenseState, serial: str, latest: License | None) -> str:
    if latest is None:
        return NotLicensed(serial=serial).sentence
    if state is LicenseState.NEEDS_RESTART:
        return (
            "The license key is activated on the subsystem: restart the subsystem to make the license take effect "
            "(“qreplica subsystem restart”)."
        )
    if state is LicenseState.EXPIRED and latest.expires_at is not None:
        return LicenseRanOut(serial=serial, expires_at=written(latest.expires_at)).sentence
    if state is LicenseState.NOT_YET_VALID and latest.not_before is not None:
        return f"The license is valid from {written(latest.not_before)}: the subsystem's clock is before that."
    if latest.expires_at is None:
        return "The license is in force, without end."
    return f"The license is in force until {written(latest.expires_at)}."


def _is_news(row: LicenseKey | None, at: datetime) -> tuple[Severity, str, str] | None:
    """Return the event that is due about a license: severity, kind and message."""
    found = _said(row)
    if row is None or found is None or found.expires_at is None:
        return None
    expires_at = found.expires_at
    if at >= expires_at and not row.expiry_told:
        message = (
            f"The license expired at {written(expires_at)}: replication cycles that run are finished, and no other "
            "begins until a new license is uploaded and the subsystem restarted."
        )
        return Severity.ERROR, "license-expired", message
    if at >= expires_at - WARNING and not row.warned and at < expires_at:
        message = f"The license expires at {written(expires_at)}: obtain a new one and upload it before then."
        return Severity.WARNING, "license-expires-soon", message
    return None
