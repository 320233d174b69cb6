"""How far copies lag behind: goals, what was told of them, backlogs; when a cycle's snapshot was taken."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    step = sa.Enum(
        "snapshot", "delta", "transfer", "flush", "commit", "done", name="step", native_enum=False, length=32
    )
    op.create_table(
        "job_lags",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("rpo_minutes", number, nullable=True),
        sa.Column("missed_since", types.UtcTime(timezone=True), nullable=True),
        sa.Column("backlog", number, nullable=True),
        sa.Column("counted_at", types.UtcTime(timezone=True), nullable=True),
        sa.Column("generation", number, nullable=True),
        sa.Column("step", step, nullable=True),
        sa.Column("checkpoint", number, nullable=True),
        sa.Column("progressed_at", types.UtcTime(timezone=True), nullable=True),
        sa.Column("at_work_since", types.UtcTime(timezone=True), nullable=True),
        sa.Column("stalled_since", types.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_lags_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_lags")),
    )
    # Several look at a job at once: none of them is to make the row.
    op.execute("INSERT INTO job_lags (job_id) SELECT id FROM jobs")
    op.add_column("qreplica_settings", sa.Column("progress_minutes", number, nullable=False, server_default="15"))
    op.add_column("cycles", sa.Column("taken_at", types.UtcTime(timezone=True), nullable=True))
    op.execute("UPDATE cycles SET taken_at = (SELECT taken_at FROM snapshots WHERE snapshots.id = cycles.id)")
