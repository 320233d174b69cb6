"""Makes users, and changes what they may do. One enabled admin is always left."""

import re

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.access import passwords
from qreplica.access.errors import LastAdmin, UserExists, UserNameInvalid
from qreplica.access.roles import Role
from qreplica.errors import NotFound
from qreplica.state.access_models import AccessSession, User
from qreplica.state.database import Database

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")


def is_user_name(text: str) -> bool:
    """Whether ``text`` can name a user."""
    return _NAME.fullmatch(text) is not None


def check_user_name(name: str) -> str:
    """Return ``name``. Raises UserNameInvalid."""
    if not is_user_name(name):
        raise UserNameInvalid(name=name)
    return name


def named(session: Session, name: str) -> User:
    """Return the user. Raises NotFound."""
    user = session.get(User, name)
    if user is None:
        raise NotFound(what="user", name=name, noun="user")
    return user


class Users:
    """The users of a subsystem. What is changed counts from their next request on, whatever they hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listing(self) -> list[User]:
        """Return all users by name."""
        with self._database.session(read_only=True) as session:
            return list(session.scalars(select(User).order_by(User.name)))

    def show(self, name: str) -> User:
        """Return one user. Raises NotFound."""
        with self._database.session(read_only=True) as session:
            return named(session, name)

    def create(self, name: str, role: Role, password: str) -> None:
        """Make a user. Raises UserNameInvalid, PasswordTooShort, PasswordTooLong, UserExists."""
        check_user_name(name)
        passwords.check_length(password)
        row = User(name=name, role=role, password_hash=passwords.hashed(password))
        with self._database.session() as session:
            if session.get(User, name) is not None:
                raise UserExists(name=name)
            session.add(row)

    def change(self, name: str, *, role: Role | None = None, enabled: bool | None = None) -> None:
        """Set the role, or whether the user may log in; None leaves it. Idempotent. Raises NotFound, LastAdmin.

        Disabling ends the user's logins; tokens are kept, and refused until the user is enabled again.
        """
        with self._database.session() as session:
            user = named(session, name)
            if enabled is False or role not in {None, Role.ADMIN}:
                _keep_an_admin(session, user)
            user.role = user.role if role is None else role
            user.enabled = user.enabled if enabled is None else enabled
            if not user.enabled:
                end_logins(session, name)

    def set_password(self, name: str, password: str) -> None:
        """Set another user's password and end that user's logins; tokens stay. Raises as ``create``, or NotFound."""
        passwords.check_length(password)
        password_hash = passwords.hashed(password)
        with self._database.session() as session:
            named(session, name).password_hash = password_hash
            end_logins(session, name)

    def delete(self, name: str) -> None:
        """Delete a user, with all logins and tokens; the audit log keeps the name. Raises NotFound, LastAdmin."""
        with self._database.session() as session:
            user = named(session, name)
            _keep_an_admin(session, user)
            session.execute(delete(AccessSession).where(AccessSession.user == name))
            session.delete(user)


def end_logins(session: Session, name: str, *, but: str | None = None) -> None:
    """End the user's logins, except the one with the id ``but``."""
    logins = delete(AccessSession).where(AccessSession.user == name, AccessSession.name.is_(None))
    session.execute(logins if but is None else logins.where(AccessSession.id != but))


def _keep_an_admin(session: Session, user: User) -> None:
    """Raise LastAdmin if nobody but ``user`` could manage users."""
    admins = select(User.name).where(User.role == Role.ADMIN, User.enabled).with_for_update()
    if set(session.scalars(admins)) == {user.name}:
        raise LastAdmin(name=user.name)
