"""Where alerts are sent."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from qreplica.state.models import Base, Severity, now
from qreplica.state.types import Secret, enum_of


class AlertChannel(Base):
    """Somebody who is told of events from ``severity`` on: by ``settings`` (see alerts.settings), with a ``secret``.

    ``sent_to`` is the id of the last event that was told or left out; ``error`` is why the last attempt failed.
    """

    __tablename__ = "alert_channels"
    name: Mapped[str] = mapped_column(primary_key=True)
    severity: Mapped[Severity] = mapped_column(enum_of(Severity))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    secret: Mapped[str | None] = mapped_column(Secret)
    sent_to: Mapped[int]
    last_sent_at: Mapped[datetime | None]
    error: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
