"""Makes the first user, an admin, against a secret that only root on the subsystem can read."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.access import passwords, secret_files
from qreplica.access.errors import AlreadySetUp, WrongSetupSecret
from qreplica.access.roles import Role
from qreplica.access.users import check_user_name
from qreplica.events import log
from qreplica.state.access_models import User
from qreplica.state.database import Database
from qreplica.state.models import Severity


class SettingUp:
    """Setting up a subsystem, once, by one of its controllers."""

    def __init__(self, database: Database, state_dir: Path, controller: int) -> None:
        self._database = database
        self.secret_file = state_dir / secret_files.SETUP
        self._controller = controller

    def offer(self) -> None:
        """At the daemon's start: write the one-time setup secret, or take it away when it is no longer needed."""
        if self.is_needed():
            secret_files.make_once(self.secret_file)
        else:
            self.secret_file.unlink(missing_ok=True)

    def set_up(self, setup_secret: str, name: str, password: str) -> None:
        """Make the first user, once. Raises AlreadySetUp, WrongSetupSecret, or for the name or password."""
        if not self.is_needed():
            raise AlreadySetUp
        if not secret_files.matches(self.secret_file, setup_secret):
            with self._database.session() as session:
                self._record(session, Severity.WARNING, "setup-refused", "subsystem", "Set-up used a wrong secret.")
            raise WrongSetupSecret(file=self.secret_file)
        check_user_name(name)
        passwords.check_length(password)
        row = User(name=name, role=Role.ADMIN, password_hash=passwords.hashed(password))
        with self._database.session() as session:
            if session.scalar(select(User.name).limit(1)) is not None:
                raise AlreadySetUp
            session.add(row)
            self._record(session, Severity.INFO, "set-up", f"user {name}", f"The first user, admin “{name}”, was made.")
        self.secret_file.unlink(missing_ok=True)

    def is_needed(self) -> bool:
        """Tell whether there is no user yet."""
        with self._database.session(read_only=True) as session:
            return session.scalar(select(User.name).limit(1)) is None

    def _record(self, session: Session, severity: Severity, kind: str, subject: str, message: str) -> None:
        log.record(session, severity, kind, subject, message, controller=self._controller)
