"""What the state keeps of backup VDs that were promoted: their copies are what hosts use now."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from qreplica.state.models import Base, VirtualDisk, now


class Promotion(Base):
    """A VD that was a backup VD. ``job_id`` held it, of ``source_subsystem``, and is refused from now on.

    ``epoch`` is above every one that the job had here. The VD began again with the content of ``generation``, which the
    source snapshot ``source_snapshot`` holds there and recovery point ``snapshot_id`` here. ``promoted_at`` is None
    while it is under way: hosts cannot use it yet.
    """

    __tablename__ = "promotions"
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"), primary_key=True)
    job_id: Mapped[str]
    source_subsystem: Mapped[str]
    epoch: Mapped[int]
    generation: Mapped[int]
    source_snapshot: Mapped[str]
    snapshot_id: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(default=now)
    promoted_at: Mapped[datetime | None]
    vd: Mapped[VirtualDisk] = relationship()

    @property
    def told_at(self) -> str:
        """When it was, in words."""
        return f"{self.promoted_at or self.decided_at:%Y-%m-%d %H:%M:%S} UTC"
