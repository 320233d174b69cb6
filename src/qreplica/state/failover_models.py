"""What the state keeps of planned failovers that are under way."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base, now
from qreplica.state.types import enum_of


class FailoverStep(StrEnum):
    """What is being done; each is persisted before its work begins.

    PROTECT: hosts are made to only read the source VD. COPY: the last cycle runs, or is awaited. PROMOTE: the target is
    told to promote the copy, which cannot be undone from here. SWAP: the source VD becomes the copy's backup VD.
    """

    PROTECT = "protect"
    COPY = "copy"
    PROMOTE = "promote"
    SWAP = "swap"


#: In these the copy may have been promoted already.
DECIDED = (FailoverStep.PROMOTE, FailoverStep.SWAP)


class Failover(Base):
    """A planned failover of a job. ``generation`` is that of the last cycle, once it was begun.

    ``epoch`` is that by which the target is told to promote; a claim with a higher one has the target refuse it.
    ``cancel``: an administrator wants it called off. ``error`` is why it does not move on at present, of the kind
    ``error_kind``.
    """

    __tablename__ = "failovers"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[FailoverStep] = mapped_column(enum_of(FailoverStep), default=FailoverStep.PROTECT)
    generation: Mapped[int | None]
    epoch: Mapped[int | None]
    cancel: Mapped[bool] = mapped_column(default=False)
    begun_at: Mapped[datetime] = mapped_column(default=now)
    error_kind: Mapped[str | None]
    error: Mapped[str | None]
