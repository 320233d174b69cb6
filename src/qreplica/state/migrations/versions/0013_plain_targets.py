"""Plain targets: jobs to iSCSI disks of other makers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "plain_targets",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("disk", sa.String(), nullable=False),
        sa.Column("fenced", sa.Boolean(), nullable=False),
        sa.Column("held_epoch", number, nullable=True),
        sa.Column("pr_generation", number, nullable=True),
        sa.Column("writer", number, nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("point", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("begun", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_plain_targets_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_plain_targets")),
        sa.UniqueConstraint("disk", name=op.f("uq_plain_targets_disk")),
    )
