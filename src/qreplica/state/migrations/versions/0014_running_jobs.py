"""How many jobs run at once, in which order the others wait, and what the administrator says of a job."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("qreplica_settings", sa.Column("running_jobs", number, nullable=False, server_default="16"))
    op.add_column("jobs", sa.Column("queued_as", number, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("comment", sa.String(), nullable=False, server_default=""))
