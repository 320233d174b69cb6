"""The tables of users, their logins and tokens, the audit log, and the certificate that both controllers show."""

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.access.roles import Role
from qreplica.state.models import Base, new_id, now
from qreplica.state.types import Secret, enum_of


class User(Base):
    """Who may use the subsystem; the password only as its Argon2id hash."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(enum_of(Role))
    password_hash: Mapped[str]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class AccessSession(Base):
    """A login, or an API token, which has a ``name``: the SHA-256 of what the holder sends, and when it ends.

    ``role`` bounds what a token may do, whatever its user may; a login has none. ``used_at`` is exact to a minute.
    ``address`` is where it was made from, ``used_from`` where it was used from last.
    """

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    digest: Mapped[str] = mapped_column(unique=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name"))
    name: Mapped[str | None]
    role: Mapped[Role | None] = mapped_column(enum_of(Role))
    address: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_from: Mapped[str | None]
    __table_args__ = (UniqueConstraint("user", "name"),)


class AuditEntry(Base):
    """What a user did or was refused. ``status`` and ``problem`` are the answer's; both None while there is none."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    controller: Mapped[int]
    user: Mapped[str | None]
    role: Mapped[Role | None] = mapped_column(enum_of(Role))
    token: Mapped[str | None]
    address: Mapped[str | None]
    operation: Mapped[str]
    subject: Mapped[str]
    details: Mapped[str | None]
    status: Mapped[int | None]
    problem: Mapped[str | None]


class UploadedCertificate(Base):
    """The administrator's TLS certificate of both controllers, in one row: PEM, its own first, then its issuers'."""

    __tablename__ = "certificates"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    chain: Mapped[str]
    key: Mapped[str] = mapped_column(Secret)
    uploaded_at: Mapped[datetime] = mapped_column(default=now)
