"""What the state keeps of test mounts."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from qreplica.state.models import Base, Snapshot, VirtualDisk, now


class TestMount(Base):
    """A VD that is a writable clone of a recovery point, made by a user for a while.

    ``snapshot_id`` is that point's, which stays as long as the clone, ``generation`` its number. ``reminded_at`` is
    when somebody was last told that the clone is still there.
    """

    __test__ = False  # pytest takes what begins so for its own
    __tablename__ = "test_mounts"
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"), primary_key=True)
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"))
    generation: Mapped[int]
    made_at: Mapped[datetime] = mapped_column(default=now)
    made_by: Mapped[str]
    reminded_at: Mapped[datetime | None]
    vd: Mapped[VirtualDisk] = relationship()
    snapshot: Mapped[Snapshot] = relationship()
