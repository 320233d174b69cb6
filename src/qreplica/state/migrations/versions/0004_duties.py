"""Which controller does the work of which, and where each is managed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column("controllers", sa.Column("management", sa.String(), nullable=True))
    op.create_table(
        "duties",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("controller", _NUMBER, nullable=False),
        sa.Column("term", _NUMBER, nullable=False),
        sa.Column("renewals", _NUMBER, nullable=False),
        sa.Column("since", types.UtcTime(timezone=True), nullable=False),
        sa.Column("asked_back", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_duties")),
    )
