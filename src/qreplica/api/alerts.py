"""Alert channels: who is told of events, and how."""

from typing import Annotated

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.alerts import channels
from qreplica.alerts.settings import SETTINGS, Settings
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, SecretIn, Strict, Time, example, revealed
from qreplica.api.problems import problems
from qreplica.state.alert_models import AlertChannel
from qreplica.state.models import Severity

router = administered("/alerts", "alerts", reads=Role.ADMIN)

_MAIL = {
    "kind": "email",
    "server": "mail.example.org",
    "port": 587,
    "security": "starttls",
    "user": "qreplica",
    "sender": "qreplica@example.org",
    "recipients": ["storage@example.org"],
}


class AlertRequest(Strict):
    """A new alert channel."""

    model_config = example({"name": "storage-team", "settings": _MAIL, "secret": "the password", "severity": "warning"})
    name: Name
    settings: Settings
    secret: Annotated[SecretIn | None, Field(description="The mail password, or the key that signs a webhook")] = None
    severity: Annotated[Severity, Field(description="The least severity that is told")] = Severity.WARNING


class AlertAnswer(Answer):
    """An alert channel. No answer holds its secret."""

    model_config = example(
        {
            "name": "storage-team",
            "settings": _MAIL,
            "authenticated": True,
            "severity": "warning",
            "way": "e-mail to storage@example.org over mail.example.org:587",
            "last_sent_at": "2026-11-24T09:30:00.000Z",
            "error": None,
            "failing_since": None,
        }
    )
    name: str
    settings: Settings
    authenticated: Annotated[bool, Field(description="Whether a password or key is kept for it")]
    severity: Severity
    way: Annotated[str, Field(description="Where it goes, in words")]
    last_sent_at: Time | None
    error: Annotated[str | None, Field(description="Why the last attempt failed; null when it did not")]
    failing_since: Time | None

    @classmethod
    def of(cls, channel: AlertChannel) -> "AlertAnswer":
        """Return what is told of a channel."""
        settings = SETTINGS.validate_python(channel.settings)
        return cls(
            name=channel.name,
            settings=settings,
            authenticated=channel.secret is not None,
            severity=channel.severity,
            way=settings.way,
            last_sent_at=channel.last_sent_at,
            error=channel.error,
            failing_since=channel.failing_since,
        )


@router.get("", summary="List the alert channels", responses=problems())
def list_alerts(services: TheServices) -> list[AlertAnswer]:
    """List the alert channels by name."""
    with services.database.session(read_only=True) as session:
        return [AlertAnswer.of(channel) for channel in channels.listing(session)]


@router.post("", summary="Make an alert channel", status_code=201, responses=problems(409, 422))
def create_alert(request: AlertRequest, services: TheServices) -> AlertAnswer:
    """Have somebody told of every event of that severity or a higher one that comes from now on."""
    with services.database.session() as session:
        channel = channels.create(
            session,
            name=request.name,
            settings=request.settings,
            secret=revealed(request.secret),
            severity=request.severity,
        )
        return AlertAnswer.of(channel)


@router.post("/{name}/test", summary="Send a test alert", status_code=204, responses=problems(404, 502))
def test_alert(name: str, services: TheServices) -> None:
    """Send a test alert to the channel, and answer when it was taken there."""
    channels.try_out(services.database, name, services.config.controller)


@router.delete("/{name}", summary="Delete an alert channel", status_code=204, responses=problems(404))
def delete_alert(name: str, services: TheServices) -> None:
    """Tell the channel no more."""
    with services.database.session() as session:
        channels.delete(session, name)
