"""Whether hosts can only read a source VD once its copy was promoted."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column(
        "qreplica_settings", sa.Column("protect_superseded", sa.Boolean(), nullable=False, server_default=sa.false())
    )
