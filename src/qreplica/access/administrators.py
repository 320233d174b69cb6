"""Setting up, logging in and out, and who a token belongs to."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.access import passwords, secret_files
from qreplica.access.errors import (
    AdministratorNameInvalid,
    AlreadySetUp,
    TokenInvalid,
    WrongLogin,
    WrongSetupSecret,
)
from qreplica.access.throttle import Throttle
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Administrator, Severity, Token, now

#: How long a login lasts.
LIFETIME = timedelta(hours=12)
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")


@dataclass(frozen=True, slots=True)
class Login:
    """A token, told this once, and when it ends."""

    administrator: str
    token: str = field(repr=False)
    expires_at: datetime


class Administrators:
    """The administrators of a subsystem, as one of its controllers lets them in."""

    def __init__(self, database: Database, state_dir: Path, controller: int) -> None:
        self._database = database
        self._setup_secret = state_dir / secret_files.SETUP
        self._controller = controller
        self._throttle = Throttle()

    def offer_setup(self) -> None:
        """At the daemon's start: write the one-time setup secret, or take it away when it is no longer needed."""
        if self._is_set_up():
            self._setup_secret.unlink(missing_ok=True)
        else:
            secret_files.make_once(self._setup_secret)

    def set_up(self, setup_secret: str, name: str, password: str) -> None:
        """Make the first administrator, once. Raises AlreadySetUp, WrongSetupSecret, or for the name or password."""
        if self._is_set_up():
            raise AlreadySetUp
        if not secret_files.matches(self._setup_secret, setup_secret):
            self._tell(Severity.WARNING, "setup-refused", "subsystem", "Set-up was tried with a wrong secret.")
            raise WrongSetupSecret(file=self._setup_secret)
        if not _NAME.fullmatch(name):
            raise AdministratorNameInvalid(name=name)
        passwords.check_length(password)
        row = Administrator(name=name, password_hash=passwords.hashed(password))
        with self._database.session() as session:
            if session.scalar(select(Administrator.name).limit(1)) is not None:
                raise AlreadySetUp
            session.add(row)
            self._record(session, Severity.INFO, "set-up", f"administrator {name}", f"Administrator “{name}” was made.")
        self._setup_secret.unlink(missing_ok=True)

    def log_in(self, name: str, password: str) -> Login:
        """Give a token for 12 hours. Raises WrongLogin, and TooManyFailures after several of them."""
        self._throttle.check(name)
        with self._database.session(read_only=True) as session:
            administrator = session.get(Administrator, name)
        if not passwords.verified(administrator.password_hash if administrator else None, password):
            self._throttle.failed(name)
            known = f"administrator {name}" if _NAME.fullmatch(name) else "administrator"
            self._tell(Severity.WARNING, "login-failed", known, "Somebody failed to log in with that name.")
            raise WrongLogin(name=name)
        self._throttle.succeeded(name)
        return self._token_for(name)

    def log_out(self, token: str) -> None:
        """End the login; ending one that has ended succeeds."""
        with self._database.session() as session:
            session.execute(delete(Token).where(Token.digest == _digest(token)))

    def whose(self, token: str) -> str:
        """Return the name of the administrator who holds ``token``. Raises TokenInvalid."""
        with self._database.session(read_only=True) as session:
            row = session.get(Token, _digest(token))
            if row is None or row.expires_at <= now():
                raise TokenInvalid
            return row.administrator

    def _is_set_up(self) -> bool:
        with self._database.session(read_only=True) as session:
            return session.scalar(select(Administrator.name).limit(1)) is not None

    def _token_for(self, name: str) -> Login:
        token = secrets.token_urlsafe(32)
        expires_at = now() + LIFETIME
        with self._database.session() as session:
            session.execute(delete(Token).where(Token.expires_at <= now()))
            session.add(Token(digest=_digest(token), administrator=name, expires_at=expires_at))
            self._record(session, Severity.INFO, "logged-in", f"administrator {name}", f"“{name}” logged in.")
        return Login(name, token, expires_at)

    def _tell(self, severity: Severity, kind: str, subject: str, message: str) -> None:
        with self._database.session() as session:
            self._record(session, severity, kind, subject, message)

    def _record(self, session: Session, severity: Severity, kind: str, subject: str, message: str) -> None:
        log.record(session, severity, kind, subject, message, controller=self._controller)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
