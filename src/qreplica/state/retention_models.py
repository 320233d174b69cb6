"""Tables of how long recovery points are kept."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base


class RetentionPolicy(Base):
    """On the target: ``replication.retention.Policy`` of a backup VD; one without a row has that of the default."""

    __tablename__ = "retention_policies"
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id", ondelete="CASCADE"), primary_key=True)
    last: Mapped[int]
    hourly: Mapped[int]
    daily: Mapped[int]
    weekly: Mapped[int]
    monthly: Mapped[int]
