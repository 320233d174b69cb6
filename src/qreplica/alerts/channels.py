"""The alert channels: making, listing, deleting and trying them."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.alerts.errors import AlertChannelExists, AlertSecretNeeded
from qreplica.alerts.sending import Alert, send
from qreplica.alerts.settings import SETTINGS, Email, Syslog, Webhook
from qreplica.errors import NotFound
from qreplica.events import log
from qreplica.names import check_name
from qreplica.state.alert_models import AlertChannel
from qreplica.state.database import Database
from qreplica.state.models import Event, Severity, Subsystem, now


def create(
    session: Session,
    *,
    name: str,
    settings: Email | Syslog | Webhook,
    secret: str | None = None,
    severity: Severity = Severity.WARNING,
) -> AlertChannel:
    """Have somebody told of every event from ``severity`` on that comes from now on.

    Raises NotAName, AlertChannelExists, AlertSecretNeeded.
    """
    check_name(name, "alert channel")
    if session.get(AlertChannel, name) is not None:
        raise AlertChannelExists(name=name)
    if isinstance(settings, Email) and settings.user is not None and secret is None:
        raise AlertSecretNeeded(user=settings.user)
    log.record(session, Severity.INFO, "alert-channel-made", f"alert {name}", f"Alerts go by {settings.way}.")
    newest = session.scalar(select(func.max(Event.id))) or 0
    channel = AlertChannel(
        name=name, severity=severity, settings=settings.model_dump(mode="json"), secret=secret, sent_to=newest
    )
    session.add(channel)
    session.flush()
    return channel


def listing(session: Session) -> list[AlertChannel]:
    """Return all by name."""
    return list(session.scalars(select(AlertChannel).order_by(AlertChannel.name)))


def get(session: Session, name: str) -> AlertChannel:
    """Return one. Raises NotFound."""
    channel = session.get(AlertChannel, name)
    if channel is None:
        raise NotFound(what="alert channel", name=name, noun="alert")
    return channel


def delete(session: Session, name: str) -> None:
    """Tell it no more. Raises NotFound."""
    session.delete(get(session, name))
    log.record(session, Severity.INFO, "alert-channel-deleted", f"alert {name}", "No alerts go there any more.")


def try_out(database: Database, name: str, controller: int) -> None:
    """Send a test alert, whatever the channel's severity. Raises NotFound, AlertNotSent."""
    with database.session(read_only=True) as session:
        channel = get(session, name)
        subsystem = session.scalars(select(Subsystem.name)).one()
    message = f"This is a test of alert channel “{name}”, sent by controller {controller}."
    alert = Alert(now(), Severity.INFO, "alert-test", f"alert {name}", message, controller)
    send(name, SETTINGS.validate_python(channel.settings), channel.secret, subsystem, [alert])
