"""Backup VDs that were promoted."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "promotions",
        sa.Column("vd_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("source_subsystem", sa.String(), nullable=False),
        sa.Column("epoch", number, nullable=False),
        sa.Column("generation", number, nullable=False),
        sa.Column("source_snapshot", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=False),
        sa.Column("decided_at", types.UtcTime(timezone=True), nullable=False),
        sa.Column("promoted_at", types.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["vd_id"], ["virtual_disks.id"], name=op.f("fk_promotions_vd_id_virtual_disks")),
        sa.PrimaryKeyConstraint("vd_id", name=op.f("pk_promotions")),
    )
