"""Verifications of recovery points."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = types.UtcTime(timezone=True)


def upgrade() -> None:
    """Bring the tables to this revision."""
    states = sa.Enum(
        *("never", "running", "stopped", "passed", "differs", "failed", "repaired"),
        name="verificationstate",
        native_enum=False,
        length=32,
    )
    op.create_table(
        "verifications",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("every_days", _NUMBER, nullable=True),
        sa.Column("state", states, nullable=False),
        sa.Column("limit", _NUMBER, nullable=True),
        sa.Column("position", _NUMBER, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.Column("first_generation", _NUMBER, nullable=True),
        sa.Column("generation", _NUMBER, nullable=True),
        sa.Column("differing", sa.JSON(), nullable=False),
        sa.Column("differing_bytes", _NUMBER, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("repair", sa.Boolean(), nullable=False),
        sa.Column("repair_generation", _NUMBER, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_verifications_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_verifications")),
    )
