"""Where alerts are sent."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    severity = sa.Enum("info", "warning", "error", name="severity", native_enum=False, length=32)
    op.create_table(
        "alert_channels",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("severity", severity, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("secret", types.Secret(), nullable=True),
        sa.Column("sent_to", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_sent_at", types.UtcTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("failing_since", types.UtcTime(timezone=True), nullable=True),
        sa.Column("created_at", types.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_channels")),
    )
