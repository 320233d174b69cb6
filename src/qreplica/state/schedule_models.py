"""Tables of what makes jobs run by themselves."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base, now


class QReplicaSettings(Base):
    """The white paper's QReplica configuration, and the time zone; one row, none before they are first changed.

    ``ratio`` is the snapshot space that a source VD without any gets at the creation of a job, in sizes of the VD.
    ``threshold`` in percent; it is checked every ``check_minutes``. ``progress_minutes`` and
    ``running_jobs`` see ``Configuration``.
    """

    __tablename__ = "qreplica_settings"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    ratio: Mapped[float] = mapped_column(default=2.0)
    threshold: Mapped[int] = mapped_column(default=50)
    restart_after_failure: Mapped[bool] = mapped_column(default=False)
    check_minutes: Mapped[int] = mapped_column(default=60)
    progress_minutes: Mapped[int] = mapped_column(default=15)
    running_jobs: Mapped[int] = mapped_column(default=16)
    protect_superseded: Mapped[bool] = mapped_column(default=False)
    time_zone: Mapped[str] = mapped_column(default="UTC")


class JobPlan(Base):
    """When a job runs by itself, and how fast; a job without a row does not, and sends as fast as it can.

    ``schedule`` is ``replication.schedule.Schedule`` as JSON; up to ``considered_to`` what was due has been begun or
    need not be. ``bandwidth`` is ``replication.bandwidth.Bandwidth``. ``paused``: nothing begins until it is resumed,
    which goes on with what was ``interrupted``. ``restart_at``: its snapshots were cleared, because the snapshot space
    ran out, and it runs again then.
    """

    __tablename__ = "job_plans"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    schedule: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    enabled: Mapped[bool] = mapped_column(default=True)
    considered_to: Mapped[datetime] = mapped_column(default=now)
    bandwidth: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    paused: Mapped[bool] = mapped_column(default=False)
    interrupted: Mapped[bool] = mapped_column(default=False)
    restart_at: Mapped[datetime | None]
