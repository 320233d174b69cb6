"""Tables of how far the copies of jobs lag behind."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base, Step
from qreplica.state.types import enum_of


class JobLag(Base):
    """What is wanted of a job's copy, and how it was found at the last look; a job without a row was not looked at.

    ``rpo_minutes`` is the RPO goal, None for none. ``missed_since``: that it is missed was told, and is so since then.
    ``backlog`` bytes were still to be sent at ``counted_at``. ``generation``, the furthest ``step`` and ``checkpoint``
    are how far the job had come, and ``progressed_at`` when it came that far. ``at_work_since`` is when it was found at
    work, None while it is not. ``stalled_since``: that it makes no progress was told, and is so since then.
    """

    __tablename__ = "job_lags"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    rpo_minutes: Mapped[int | None]
    missed_since: Mapped[datetime | None]
    backlog: Mapped[int | None]
    counted_at: Mapped[datetime | None]
    generation: Mapped[int | None]
    step: Mapped[Step | None] = mapped_column(enum_of(Step))
    checkpoint: Mapped[int | None]
    progressed_at: Mapped[datetime | None]
    at_work_since: Mapped[datetime | None]
    stalled_since: Mapped[datetime | None]
