"""What administrators set of ports, and the certificate that they upload."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from qreplica.state import types

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Bring the tables to this revision."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("controllers", sa.Column("certificate", sa.String(), nullable=True))
    op.add_column("controllers", sa.Column("certificate_source", sa.String(), nullable=True))
    op.add_column("controllers", sa.Column("certificate_told", number, nullable=True))
    op.add_column("ports", sa.Column("gateway", sa.String(), nullable=True))
    op.add_column("ports", sa.Column("mtu", number, nullable=True))
    op.add_column("ports", sa.Column("largest_mtu", number, nullable=True))
    op.create_table(
        "port_settings",
        sa.Column("controller", number, nullable=False),
        sa.Column("number", number, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("prefix_length", number, nullable=False),
        sa.Column("gateway", sa.String(), nullable=True),
        sa.Column("mtu", number, nullable=True),
        sa.ForeignKeyConstraint(
            ["controller"], ["controllers.number"], name=op.f("fk_port_settings_controller_controllers")
        ),
        sa.PrimaryKeyConstraint("controller", "number", name=op.f("pk_port_settings")),
    )
    op.create_table(
        "certificates",
        sa.Column("id", number, autoincrement=False, nullable=False),
        sa.Column("chain", sa.String(), nullable=False),
        sa.Column("key", types.Secret(), nullable=False),
        sa.Column("uploaded_at", types.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
