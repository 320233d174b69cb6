"""Virtual disks that are not served while they are rolled back; whose work a snapshot that is not taken yet is."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column("snapshots", sa.Column("attempt", sa.String(), nullable=True))
    op.create_table(
        "held_back",
        sa.Column("vd_id", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=True),
        sa.Column("told", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["vd_id"], ["virtual_disks.id"], name=op.f("fk_held_back_vd_id_virtual_disks")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_held_back_snapshot_id_snapshots")),
        sa.PrimaryKeyConstraint("vd_id", name=op.f("pk_held_back")),
    )
