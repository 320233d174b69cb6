"""The state of each path of a job."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    states = sa.Enum("active", "standby", "failed", name="pathstate", native_enum=False, length=32)
    op.add_column("paths", sa.Column("state", states, nullable=False, server_default="standby"))
    op.add_column("paths", sa.Column("reason", sa.String(), nullable=True))
    op.add_column("paths", sa.Column("since", types.UtcTime(timezone=True), nullable=True))
    op.execute("UPDATE paths SET since = (SELECT created_at FROM jobs WHERE jobs.id = paths.job_id)")
    with op.batch_alter_table("paths") as paths:
        paths.alter_column("since", existing_type=types.UtcTime(timezone=True), nullable=False)
