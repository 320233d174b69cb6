"""Logging in and out, tokens for programs, and who holds one."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.access import passwords
from qreplica.access.errors import (
    LoginNeeded,
    LoginUnused,
    TokenExists,
    TokenInvalid,
    TokenRoleTooHigh,
    UserDisabled,
    WrongLogin,
    WrongPassword,
)
from qreplica.access.roles import Role, lower
from qreplica.access.throttle import Throttle
from qreplica.access.users import end_logins, is_user_name, named
from qreplica.errors import NotFound, QReplicaError
from qreplica.events import log
from qreplica.names import check_name
from qreplica.state.access_models import AccessSession, User
from qreplica.state.database import Database
from qreplica.state.models import Severity, now

#: How long a login lasts, and how long it may lie unused unless the configuration says otherwise.
LIFETIME = timedelta(hours=12)
USUAL_IDLE = timedelta(minutes=30)
#: The longest and the usual life of a token, in days.
LONGEST_DAYS, USUAL_DAYS = 366, 90
#: How exactly the last use is known: each note of it is a write.
_NOTE_EVERY = timedelta(minutes=1)
_NOTES = 10_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Given:
    """A login or token, whose secret is told this once, and when it ends.

    A login ends earlier when it is not used for ``idle_minutes``; None for a token.
    """

    user: str
    role: Role
    token: str = field(repr=False)
    expires_at: datetime
    idle_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: ``role`` is what they may do, ``token`` the name of an API token, None for a login."""

    user: str
    role: Role
    session: str
    token: str | None


class Sessions:
    """The logins and tokens of a subsystem, as one of its controllers lets them in.

    A login that was not used for ``idle`` ends; both controllers need the same.
    """

    def __init__(self, database: Database, controller: int, idle: timedelta = USUAL_IDLE) -> None:
        self._database = database
        self._controller = controller
        self._idle = idle
        self._throttle = Throttle()
        self._note_tried: dict[str, datetime] = {}

    def log_in(self, name: str, password: str, address: str | None) -> Given:
        """Give a login for 12 hours, less when it lies unused.

        Raises WrongLogin, UserDisabled, and TooManyFailures after several failures.
        """
        self._throttle.check(name)
        with self._database.session(read_only=True) as session:
            user = session.get(User, name)
        if not passwords.verified(user.password_hash if user else None, password):
            self._failed(name)
            raise WrongLogin(name=name)
        self._throttle.succeeded(name)
        return self._begin(name, address)

    def another(self, caller: Caller, address: str | None) -> Given:
        """Give the caller another login, for a browser. Raises LoginNeeded, WrongLogin, UserDisabled."""
        _needs_login(caller)
        return self._begin(caller.user, address)

    def _begin(self, name: str, address: str | None) -> Given:
        secret = secrets.token_urlsafe(32)
        with self._database.session() as session:
            session.execute(delete(AccessSession).where(AccessSession.expires_at <= now()))
            user = session.get(User, name)
            if user is None:
                raise WrongLogin(name=name)
            if not user.enabled:
                raise UserDisabled(name=name)
            row = AccessSession(
                digest=_digest(secret), user=name, address=address, expires_at=now() + LIFETIME, used_at=now()
            )
            row.used_from = address
            session.add(row)
            self._record(session, Severity.INFO, "logged-in", f"user {name}", f"“{name}” logged in.")
            return Given(name, user.role, secret, row.expires_at, self._idle // timedelta(minutes=1))

    def make_token(self, caller: Caller, name: str, role: Role, days: int, address: str | None) -> Given:
        """Give the caller a token that ends in ``days`` days and may do at most what ``role`` may.

        Raises NotAName, LoginNeeded, TokenRoleTooHigh, TokenExists.
        """
        check_name(name, "token")
        _needs_login(caller)
        if not caller.role.may(role):
            raise TokenRoleTooHigh(role=role, own=caller.role)
        secret = secrets.token_urlsafe(32)
        row = AccessSession(
            digest=_digest(secret),
            user=caller.user,
            name=name,
            role=role,
            address=address,
            expires_at=now() + timedelta(days=days),
        )
        with self._database.session() as session:
            session.execute(delete(AccessSession).where(AccessSession.expires_at <= now()))
            held = select(AccessSession.id).where(AccessSession.user == caller.user, AccessSession.name == name)
            if session.scalar(held) is not None:
                raise TokenExists(name=name)
            session.add(row)
        return Given(caller.user, role, secret, row.expires_at)

    def caller(self, token: str, address: str | None) -> Caller:
        """Return who holds ``token``, with the user's role as it is now; a login is used by that.

        Raises TokenInvalid, as LoginUnused for a login that lay unused for too long.
        """
        with self._database.session(read_only=True) as session:
            row = session.scalar(select(AccessSession).where(AccessSession.digest == _digest(token)))
            user = session.get(User, row.user) if row is not None and row.expires_at > now() else None
            if row is None or user is None or not user.enabled:
                raise TokenInvalid
        if self._lay_unused(row):
            raise LoginUnused(minutes=self._idle // timedelta(minutes=1))
        if row.used_at is None or now() - row.used_at > _NOTE_EVERY:
            self._note_use(row.id, address)
        return Caller(user.name, lower(user.role, row.role or user.role), row.id, row.name)

    def change_password(self, caller: Caller, old: str, new: str) -> None:
        """Set the caller's own password and end the caller's other logins; tokens stay.

        Raises LoginNeeded, WrongPassword, PasswordTooShort, PasswordTooLong, TooManyFailures.
        """
        _needs_login(caller)
        self._throttle.check(caller.user)
        with self._database.session(read_only=True) as session:
            kept = named(session, caller.user).password_hash
        if not passwords.verified(kept, old):
            self._failed(caller.user)
            raise WrongPassword
        self._throttle.succeeded(caller.user)
        passwords.check_length(new)
        password_hash = passwords.hashed(new)
        with self._database.session() as session:
            named(session, caller.user).password_hash = password_hash
            end_logins(session, caller.user, but=caller.session)

    def listing(self, user: str | None = None) -> list[AccessSession]:
        """Return the logins and tokens that are valid, of one user or of all, the latest first."""
        rows = select(AccessSession).where(AccessSession.expires_at > now()).order_by(AccessSession.created_at.desc())
        with self._database.session(read_only=True) as session:
            found = session.scalars(rows if user is None else rows.where(AccessSession.user == user))
            return [row for row in found if not self._lay_unused(row)]

    def revoke(self, number: str, user: str | None = None) -> None:
        """End a login or token by its id, of ``user`` alone if given. Raises NotFound."""
        with self._database.session() as session:
            row = session.get(AccessSession, number)
            if row is None or user not in {None, row.user}:
                raise NotFound(what="session", name=number, noun="session")
            session.delete(row)

    def revoke_all(self, user: str, *, but: str | None = None) -> None:
        """End all logins and tokens of a user, except the one with the id ``but``. Idempotent. Raises NotFound."""
        with self._database.session() as session:
            named(session, user)
            rows = delete(AccessSession).where(AccessSession.user == user)
            session.execute(rows if but is None else rows.where(AccessSession.id != but))

    def log_out(self, caller: Caller) -> None:
        """End what the caller holds; ending what has ended succeeds."""
        with self._database.session() as session:
            session.execute(delete(AccessSession).where(AccessSession.id == caller.session))

    def _lay_unused(self, row: AccessSession) -> bool:
        """Whether a login was not used for so long that it has ended; never too early, since the use is not exact."""
        return row.name is None and now() - (row.used_at or row.created_at) > self._idle + _NOTE_EVERY

    def _failed(self, name: str) -> None:
        self._throttle.failed(name)
        known = f"user {name}" if is_user_name(name) else "user"
        with self._database.session() as session:
            self._record(session, Severity.WARNING, "login-failed", known, "Somebody gave a wrong name or password.")

    def _note_use(self, number: str, address: str | None) -> None:
        """Note when and from where it was used; that this cannot be written now keeps nobody out.

        Nor is it tried at every request then: who waits for a state that is held waits once a minute.
        """
        if now() - self._note_tried.get(number, datetime.min.replace(tzinfo=UTC)) <= _NOTE_EVERY:
            return
        if len(self._note_tried) >= _NOTES:
            self._note_tried.clear()
        self._note_tried[number] = now()
        try:
            with self._database.session() as session:
                row = session.get(AccessSession, number)
                if row is not None:
                    row.used_at, row.used_from = now(), address
        except QReplicaError as error:
            _log.warning("use of a session not noted", reason=error.sentence)

    def _record(self, session: Session, severity: Severity, kind: str, subject: str, message: str) -> None:
        log.record(session, severity, kind, subject, message, controller=self._controller)


def _needs_login(caller: Caller) -> None:
    if caller.token is not None:
        raise LoginNeeded(token=caller.token)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
