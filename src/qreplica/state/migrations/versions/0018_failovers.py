"""Planned failovers, and VDs that hosts only read."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    steps = sa.Enum("protect", "copy", "promote", "swap", name="failoverstep", native_enum=False, length=32)
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column(
        "virtual_disks", sa.Column("write_protected", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "failovers",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("step", steps, nullable=False),
        sa.Column("generation", number, nullable=True),
        sa.Column("epoch", number, nullable=True),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("begun_at", types.UtcTime(timezone=True), nullable=False),
        sa.Column("error_kind", sa.String(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_failovers_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_failovers")),
    )
