"""How long recovery points of a backup VD are kept, and which of them are locked."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "retention_policies",
        sa.Column("vd_id", sa.String(), nullable=False),
        sa.Column("last", number, nullable=False),
        sa.Column("hourly", number, nullable=False),
        sa.Column("daily", number, nullable=False),
        sa.Column("weekly", number, nullable=False),
        sa.Column("monthly", number, nullable=False),
        sa.ForeignKeyConstraint(
            ["vd_id"],
            ["virtual_disks.id"],
            name=op.f("fk_retention_policies_vd_id_virtual_disks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("vd_id", name=op.f("pk_retention_policies")),
    )
    op.add_column("recovery_points", sa.Column("locked_at", types.UtcTime(timezone=True), nullable=True))
    op.add_column("recovery_points", sa.Column("locked_by", sa.String(), nullable=True))
    op.add_column("recovery_points", sa.Column("lock_note", sa.String(), nullable=False, server_default=""))
