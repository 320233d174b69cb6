"""Writable clones of recovery points."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "test_mounts",
        sa.Column("vd_id", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=False),
        sa.Column("generation", number, nullable=False),
        sa.Column("made_at", types.UtcTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("reminded_at", types.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["vd_id"], ["virtual_disks.id"], name=op.f("fk_test_mounts_vd_id_virtual_disks")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_test_mounts_snapshot_id_snapshots")),
        sa.PrimaryKeyConstraint("vd_id", name=op.f("pk_test_mounts")),
    )
