"""Maintenance of RAID groups: spares and replacements, scrubs, leases; automatic snapshots of VDs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column("raid_groups", sa.Column("scrub_days", _NUMBER, nullable=True))
    op.execute("UPDATE raid_groups SET scrub_days = 30")
    op.add_column("virtual_disks", sa.Column("snapshot_minutes", _NUMBER, nullable=True))
    op.add_column("virtual_disks", sa.Column("snapshots_kept", _NUMBER, nullable=False, server_default="8"))
    with op.batch_alter_table("disks") as disks:
        disks.add_column(sa.Column("spare", sa.Boolean(), nullable=False, server_default=sa.false()))
        disks.add_column(sa.Column("failed", sa.Boolean(), nullable=False, server_default=sa.false()))
        disks.add_column(sa.Column("errors", _NUMBER, nullable=False, server_default="0"))
        disks.add_column(sa.Column("replaces_id", sa.String(), nullable=True))
        disks.create_foreign_key(op.f("fk_disks_replaces_id_disks"), "disks", ["replaces_id"], ["id"])
    op.create_table(
        "scrubs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("raid_group_id", sa.String(), nullable=False),
        sa.Column("started_at", types.UtcTime(timezone=True), nullable=False),
        sa.Column("finished_at", types.UtcTime(timezone=True), nullable=True),
        sa.Column("checked", _NUMBER, nullable=False),
        sa.Column("corrected", _NUMBER, nullable=False),
        sa.Column("uncorrectable", _NUMBER, nullable=False),
        sa.Column(
            "outcome",
            sa.Enum("clean", "damaged", "interrupted", "failed", name="scruboutcome", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["raid_group_id"], ["raid_groups.id"], name=op.f("fk_scrubs_raid_group_id_raid_groups")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scrubs")),
    )
    op.create_index(op.f("ix_scrubs_raid_group_id"), "scrubs", ["raid_group_id"])
    op.create_table(
        "maintenance_leases",
        sa.Column("raid_group_id", sa.String(), nullable=False),
        sa.Column("controller", _NUMBER, nullable=False),
        sa.Column("term", _NUMBER, nullable=False),
        sa.Column("renewals", _NUMBER, nullable=False),
        sa.Column("since", types.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["raid_group_id"], ["raid_groups.id"], name=op.f("fk_maintenance_leases_raid_group_id_raid_groups")
        ),
        sa.PrimaryKeyConstraint("raid_group_id", name=op.f("pk_maintenance_leases")),
    )
