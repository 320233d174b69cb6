"""Serial numbers of subsystems, licenses, and restarts of controllers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.license.serial import new_serial
from qreplica.state import types

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the tables to this revision."""
    op.add_column("subsystem", sa.Column("serial", sa.String(), nullable=True))
    op.execute(sa.text("UPDATE subsystem SET serial = :serial").bindparams(serial=new_serial()))
    with op.batch_alter_table("subsystem") as subsystem:
        subsystem.alter_column("serial", existing_type=sa.String(), nullable=False)
    op.create_table(
        "licenses",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("uploaded_at", types.UtcTime(timezone=True), nullable=False),
        sa.Column("warned", sa.Boolean(), nullable=False),
        sa.Column("expiry_told", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licenses")),
        sa.UniqueConstraint("number", name=op.f("uq_licenses_number")),
    )
    # No reference to the licenses: SQLite would have to make the table anew, on which that of the ports depends.
    op.add_column("controllers", sa.Column("license_id", sa.String(), nullable=True))
    for name in ("restarts_asked", "restarts_begun", "restarts_done"):
        op.add_column("controllers", sa.Column(name, _NUMBER, nullable=False, server_default="0"))
