"""Tells one channel of events. Each call makes its own connection and ends within seconds."""

import hashlib
import hmac
import json
import smtplib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import httpx

from qreplica.alerts.errors import AlertNotSent
from qreplica.alerts.settings import Email, Security, Syslog, Webhook
from qreplica.state.models import Severity

_PATIENCE = 10.0
#: RFC 5424, 6.2.1: facility 16 (local use 0), and the severities informational, warning, error.
_FACILITY = 16
_LEVELS = {Severity.INFO: 6, Severity.WARNING: 4, Severity.ERROR: 3}
#: What RFC 5424 and RFC 5426 have every receiver take.
_LONGEST_DATAGRAM = 2048
_SUBJECT = 120


@dataclass(frozen=True, slots=True)
class Alert:
    """An event to be told."""

    at: datetime
    severity: Severity
    kind: str
    subject: str
    message: str
    controller: int | None = None


def send(
    name: str, settings: Email | Syslog | Webhook, secret: str | None, subsystem: str, alerts: Sequence[Alert]
) -> None:
    """Tell the channel ``name`` of events of ``subsystem``, oldest first.

    May tell some of them twice when it is called again after a failure. Raises AlertNotSent.
    """
    try:
        match settings:
            case Email():
                _mail(settings, secret, _letter(settings, subsystem, alerts))
            case Syslog():
                _log(settings, [_line(subsystem, alert) for alert in alerts])
            case Webhook():
                _post(settings, secret, subsystem, alerts)
    except (OSError, smtplib.SMTPException, httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise AlertNotSent(name=name, way=settings.way, reason=" ".join(reason.split())) from error


def _letter(settings: Email, subsystem: str, alerts: Sequence[Alert]) -> EmailMessage:
    worst = max(alerts, key=lambda alert: list(_LEVELS).index(alert.severity))
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    letter = EmailMessage()
    letter["From"], letter["To"] = settings.sender, ", ".join(settings.recipients)
    letter["Date"], letter["Message-ID"] = format_datetime(datetime.now(UTC)), make_msgid(domain="qreplica.invalid")
    subject = f"[{subsystem}] {worst.severity}: {worst.message}"
    # What a header may not hold is a space there.
    subject = "".join(one if one.isprintable() else " " for one in subject)
    letter["Subject"] = (subject[:_SUBJECT] + "…" if len(subject) > _SUBJECT else subject) + more
    # RFC 3834: nobody's machine is to answer.
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(
        "\n\n".join(
            f"{alert.at:%Y-%m-%d %H:%M:%S} UTC, {alert.severity}, {alert.subject}\n{alert.message}" for alert in alerts
        )
        + "\n"
    )
    return letter


def _mail(settings: Email, secret: str | None, letter: EmailMessage) -> None:
    place = (settings.server, settings.port)
    with (
        smtplib.SMTP_SSL(*place, timeout=_PATIENCE, context=ssl.create_default_context())
        if settings.security is Security.TLS
        else smtplib.SMTP(*place, timeout=_PATIENCE)
    ) as server:
        if settings.security is Security.STARTTLS:
            server.starttls(context=ssl.create_default_context())
        if settings.user is not None and secret is not None:
            server.login(settings.user, secret)
        refused = server.send_message(letter)
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)


def _line(subsystem: str, alert: Alert) -> bytes:
    """Return the event as RFC 5424 has it, without structured data."""
    priority = _FACILITY * 8 + _LEVELS[alert.severity]
    at = alert.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    host = f"{subsystem}-{alert.controller}" if alert.controller else subsystem
    message = " ".join(f"{alert.subject}: {alert.message}".split())
    # RFC 5424, 6.4: a text in UTF-8 begins with its mark.
    return f"<{priority}>1 {at} {host} qreplica - {alert.kind[:32]} - \ufeff{message}".encode()


def _log(settings: Syslog, lines: Sequence[bytes]) -> None:
    if settings.transport == "tcp":
        with socket.create_connection((settings.server, settings.port), timeout=_PATIENCE) as link:
            link.sendall(b"".join(b"%d %b" % (len(line), line) for line in lines))
        return
    family, kind, protocol, _, place = socket.getaddrinfo(settings.server, settings.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as link:
        link.connect(place)
        for line in lines:
            link.send(line[:_LONGEST_DATAGRAM])


def _post(settings: Webhook, secret: str | None, subsystem: str, alerts: Sequence[Alert]) -> None:
    events = [{**asdict(alert), "at": alert.at.astimezone(UTC).isoformat()} for alert in alerts]
    body = json.dumps({"subsystem": subsystem, "events": events}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "qreplica"}
    if secret is not None:
        headers["X-QReplica-Signature"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    answer = httpx.post(settings.url, content=body, headers=headers, timeout=_PATIENCE, follow_redirects=False)
    answer.raise_for_status()
