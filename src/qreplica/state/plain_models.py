"""The table of plain targets."""

from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base


class PlainTarget(Base):
    """A job's target that is an iSCSI disk of another maker, and what the source knows of it; others have no row.

    ``disk`` is its identity (VPD page 0x83). ``fenced``: it has persistent reservations; then ``held_epoch`` is the
    epoch whose key holds it, and ``pr_generation`` the target's count of changed registrations then. Where it has none,
    ``writer`` is the controller whose session may not have ended in order. ``accepted``: whatever the disk holds is to
    be overwritten. ``point`` is the last generation that it holds whole (``peer.messages.Point``), ``begun`` the one of
    which it holds a part (``InProgress``).
    """

    __tablename__ = "plain_targets"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    disk: Mapped[str] = mapped_column(unique=True)
    fenced: Mapped[bool]
    held_epoch: Mapped[int | None]
    pr_generation: Mapped[int | None]
    writer: Mapped[int | None]
    accepted: Mapped[bool] = mapped_column(default=False)
    point: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    begun: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
