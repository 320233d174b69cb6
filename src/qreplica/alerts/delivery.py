"""Tells channels of the events that are due to them, each at least once, and goes on where it stopped."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from qreplica.alerts.sending import Alert, send
from qreplica.alerts.settings import SETTINGS
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.alert_models import AlertChannel
from qreplica.state.database import Database
from qreplica.state.models import Event, Severity, Subsystem, now

#: How many events are told together, and how many are looked at for it.
_TOGETHER = 50
_RANKS = (Severity.INFO, Severity.WARNING, Severity.ERROR)
#: After a failure it is tried again after so many seconds, and twice as many each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0
#: Not told to those who cannot be told.
FAILED = "alert-not-sent"

Send = Callable[..., None]


class Delivery:
    """One at a time in a subsystem delivers; another one that also does tells some events twice."""

    def __init__(
        self,
        database: Database,
        controller: int,
        *,
        send: Send = send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._controller = controller
        self._send = send
        self._clock = clock
        #: When a channel that failed is tried again, and how long after that.
        self._again: dict[str, tuple[float, float]] = {}

    def round(self) -> bool:
        """Tell each channel what is due to it, once; return whether there may be more. Raises what a session does."""
        with self._database.session(read_only=True) as session:
            channels = list(session.scalars(select(AlertChannel).order_by(AlertChannel.name)))
            due = {channel.name: _due(session, channel) for channel in channels}
            subsystem = session.scalar(select(Subsystem.name)) or ""
        more = False
        for channel in channels:
            events = due[channel.name]
            if events and self._again.get(channel.name, (0.0, 0.0))[0] <= self._clock():
                more |= self._tell(channel, subsystem, events)
        return more

    def _tell(self, channel: AlertChannel, subsystem: str, events: Sequence[Event]) -> bool:
        chosen = [_alert(event) for event in events if _is_for(channel, event)]
        try:
            if chosen:
                self._send(channel.name, SETTINGS.validate_python(channel.settings), channel.secret, subsystem, chosen)
        except QReplicaError as error:
            self._put_off(channel, error)
            return False
        self._again.pop(channel.name, None)
        with self._database.session() as session:
            facts = {"sent_to": events[-1].id, "error": None, "failing_since": None}
            self._note(session, channel, **(facts | ({"last_sent_at": now()} if chosen else {})))
            if channel.error is not None:
                self._record(session, channel, Severity.INFO, "alert-sent-again", "Alerts are told again.")
        return len(events) == _TOGETHER

    def _put_off(self, channel: AlertChannel, error: QReplicaError) -> None:
        _, pause = self._again.get(channel.name, (0.0, 0.0))
        pause = min(_LONGEST_PAUSE, pause * 2 or _FIRST_PAUSE)
        self._again[channel.name] = (self._clock() + pause, pause)
        with self._database.session() as session:
            self._note(session, channel, error=error.sentence, failing_since=channel.failing_since or now())
            if channel.error != error.sentence:
                self._record(session, channel, Severity.WARNING, FAILED, error.sentence)

    def _note(self, session: Session, channel: AlertChannel, **facts: datetime | str | int | None) -> None:
        """Write down how it went, unless somebody else has told the channel meanwhile or made it anew."""
        same = (AlertChannel.name == channel.name, AlertChannel.created_at == channel.created_at)
        session.execute(update(AlertChannel).where(*same, AlertChannel.sent_to == channel.sent_to).values(**facts))

    def _record(self, session: Session, channel: AlertChannel, severity: Severity, kind: str, message: str) -> None:
        log.record(session, severity, kind, f"alert {channel.name}", message, controller=self._controller)


def _due(session: Session, channel: AlertChannel) -> list[Event]:
    chosen = select(Event).where(Event.id > channel.sent_to).order_by(Event.id).limit(_TOGETHER)
    return list(session.scalars(chosen))


def _is_for(channel: AlertChannel, event: Event) -> bool:
    return event.kind != FAILED and _RANKS.index(event.severity) >= _RANKS.index(channel.severity)


def _alert(event: Event) -> Alert:
    return Alert(event.at, event.severity, event.kind, event.subject, event.message, event.controller)
