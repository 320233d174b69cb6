"""What the state keeps of verifications: comparisons of recovery points with the source's snapshots."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from qreplica.state.models import Base, Job
from qreplica.state.types import enum_of


class VerificationState(StrEnum):
    """How a job's verification is.

    NEVER begun, RUNNING, STOPPED by an administrator, PASSED, DIFFERS, FAILED; REPAIRED: what differed was sent again,
    and was not verified since.
    """

    NEVER = "never"
    RUNNING = "running"
    STOPPED = "stopped"
    PASSED = "passed"
    DIFFERS = "differs"
    FAILED = "failed"
    REPAIRED = "repaired"


class Verification(Base):
    """A job's last verification, or the one that runs; and every how many days one begins, None for by hand only.

    ``position`` of ``size`` bytes are compared, of generations ``first_generation`` to ``generation``: each byte
    between snapshots of one and the same. ``differing`` are ranges [offset, length] in bytes, and ``differing_bytes``
    their sum; where there are very many, those near each other are one. ``limit`` and ``rate`` are in bytes a second;
    no limit is None. ``error`` is why it failed, or does not move on at present.

    ``repair``: the next cycle is to send the differing ranges too; ``repair_generation`` is that of the cycle that
    does, once it is planned.
    """

    __tablename__ = "verifications"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    every_days: Mapped[int | None]
    state: Mapped[VerificationState] = mapped_column(enum_of(VerificationState), default=VerificationState.NEVER)
    limit: Mapped[int | None]
    position: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(default=0)
    rate: Mapped[float] = mapped_column(default=0.0)
    first_generation: Mapped[int | None]
    generation: Mapped[int | None]
    differing: Mapped[list[list[int]]] = mapped_column(JSON, default=list)
    differing_bytes: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    repair: Mapped[bool] = mapped_column(default=False)
    repair_generation: Mapped[int | None]
    job: Mapped[Job] = relationship()
