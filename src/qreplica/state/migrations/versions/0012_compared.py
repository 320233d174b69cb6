"""How much a full copy compared with what the target held."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("cycles", sa.Column("compared_bytes", number, nullable=False, server_default="0"))
