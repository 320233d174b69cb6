"""Users with roles in place of administrators, sessions in place of tokens, and the audit log."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = types.UtcTime(timezone=True)


def _role(nullable: bool) -> sa.Column[str]:  # noqa: FBT001 - one fact
    role = sa.Enum("viewer", "operator", "admin", name="role", native_enum=False, length=32)
    return sa.Column("role", role, nullable=nullable)


def upgrade() -> None:
    """Bring the tables to this revision. Who was an administrator is a user with role admin, and logs in again."""
    op.create_table(
        "users",
        sa.Column("name", sa.String(), nullable=False),
        _role(nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
    )
    op.execute(
        sa.text(
            "INSERT INTO users (name, role, password_hash, enabled, created_at)"
            " SELECT name, 'admin', password_hash, :enabled, created_at FROM administrators"
        ).bindparams(sa.bindparam("enabled", value=True, type_=sa.Boolean()))
    )
    op.drop_table("tokens")
    op.drop_table("administrators")
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        _role(nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("used_from", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name=op.f("fk_sessions_user_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_sessions_digest")),
        sa.UniqueConstraint("user", "name", name=op.f("uq_sessions_user_name")),
    )
    op.create_table(
        "audit",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("controller", _NUMBER, nullable=False),
        sa.Column("user", sa.String(), nullable=True),
        _role(nullable=True),
        sa.Column("token", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("details", sa.String(), nullable=True),
        sa.Column("status", _NUMBER, nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.add_column("controllers", sa.Column("fingerprint", sa.String(), nullable=True))
