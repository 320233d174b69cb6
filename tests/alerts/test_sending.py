"""What a mail server, a syslog server and a web server get to read."""

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from qreplica.alerts.errors import AlertNotSent
from qreplica.alerts.sending import Alert, send
from qreplica.alerts.settings import SETTINGS, Email, Security, Syslog, Webhook
from qreplica.state.models import Severity

from .listeners import MailServer, web_server

AT = datetime(2026, 11, 25, 3, 4, 5, 678000, UTC)
GOOD = Alert(AT, Severity.INFO, "cycle-committed", "job nightly", "Generation 4 was committed.", 1)
BAD = Alert(AT, Severity.ERROR, "disk-failed", "disk d1", "Disk d1 is missing: replace it — now.", 2)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


def by_mail(server: MailServer, **changes: object) -> Email:
    facts = {"server": "127.0.0.1", "port": server.port, "security": Security.NONE, "sender": "q@example.org"}
    return Email.model_validate({**facts, "recipients": ("a@example.org", "b@example.org"), **changes})


def test_a_letter_names_the_worst_first_and_holds_all(mail: MailServer) -> None:
    send("team", by_mail(mail), None, "source", [GOOD, BAD])
    (letter,) = mail.letters
    assert letter["Subject"] == "[source] error: Disk d1 is missing: replace it — now. (and 1 more)"
    assert (letter["From"], letter["To"]) == ("q@example.org", "a@example.org, b@example.org")
    assert letter["Auto-Submitted"] == "auto-generated"
    text = letter.get_content().replace("\r\n", "\n")
    assert "2026-11-25 03:04:05 UTC, info, job nightly\nGeneration 4 was committed." in text
    assert "replace it — now." in text
    assert sum(command.upper().startswith("RCPT") for command in mail.commands) == 2


def test_what_a_header_cannot_hold_does_not_get_into_one(mail: MailServer) -> None:
    evil = Alert(AT, Severity.ERROR, "k", "job x", "a\r\nBcc: all@example.org\r\n\r\nb" + "c" * 500)
    send("team", by_mail(mail), None, "source", [evil])
    (letter,) = mail.letters
    assert letter["Bcc"] is None
    assert len(letter["Subject"]) < 200
    assert not any("all@example.org" in command for command in mail.commands)


def test_it_logs_in_with_the_password(mail: MailServer) -> None:
    send("team", by_mail(mail, user="q"), "secret", "source", [GOOD])
    assert any(command.startswith("AUTH PLAIN") for command in mail.commands)
    assert len(mail.letters) == 1


@pytest.mark.parametrize("refused", ["MAIL", "RCPT", "DATA", "AUTH"])
def test_what_the_mail_server_refuses_is_told(mail: MailServer, refused: str) -> None:
    mail.refuse = refused
    with pytest.raises(AlertNotSent, match="not here") as caught:
        send("team", by_mail(mail, user="q"), "open sesame", "source", [GOOD])
    assert "open sesame" not in caught.value.sentence
    assert mail.letters == []


def test_a_server_without_tls_is_not_told_in_the_clear_when_it_must_be_secured(mail: MailServer) -> None:
    with pytest.raises(AlertNotSent, match="STARTTLS"):
        send("team", by_mail(mail, security=Security.STARTTLS, user="q"), "secret", "source", [GOOD])
    assert not any(command.startswith("AUTH") for command in mail.commands)
    assert mail.letters == []


def test_a_server_that_is_not_there_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for settings in (
        Email(server="127.0.0.1", port=port, sender="q@example.org", recipients=("a@example.org",)),
        Syslog(server="127.0.0.1", port=port, transport="tcp"),
        Webhook(url=f"http://127.0.0.1:{port}/"),
    ):
        with pytest.raises(AlertNotSent, match="“team” cannot be told by"):
            send("team", settings, None, "source", [GOOD])


def test_syslog_gets_a_datagram_for_each() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        settings = Syslog(server="127.0.0.1", port=server.getsockname()[1])
        long = Alert(AT, Severity.WARNING, "k" * 50, "job x", "y" * 9000)
        send("log", settings, None, "source", [GOOD, BAD, long])
        got = [server.recv(65536) for _ in range(3)]
    assert got[0] == (
        b"<134>1 2026-11-25T03:04:05.678Z source-1 qreplica - cycle-committed - "
        b"\xef\xbb\xbfjob nightly: Generation 4 was committed."
    )
    assert got[1].startswith(b"<131>1 ")
    assert len(got[2]) == 2048


def test_syslog_over_tcp_counts_the_bytes_of_each() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        send("log", Syslog(server="127.0.0.1", port=listener.getsockname()[1], transport="tcp"), None, "s", [BAD, BAD])
        link, _ = listener.accept()
        with link, link.makefile("rb") as stream:
            text = stream.read()
    length, _, rest = text.partition(b" ")
    assert rest[int(length) :] == text[: len(text) // 2]


def test_a_webhook_gets_signed_json() -> None:
    with web_server() as server:
        settings = Webhook(url=f"http://127.0.0.1:{server.server_port}/hook?a=b")
        send("hook", settings, "the key", "source", [GOOD, BAD])
        ((headers, body),) = server.requests
    signed = hmac.new(b"the key", body, hashlib.sha256).hexdigest()
    assert headers["X-QReplica-Signature"] == f"sha256={signed}"
    told = json.loads(body)
    assert told["subsystem"] == "source"
    assert told["events"][1] == {
        "at": "2026-11-25T03:04:05.678000+00:00",
        "severity": "error",
        "kind": "disk-failed",
        "subject": "disk d1",
        "message": "Disk d1 is missing: replace it — now.",
        "controller": 2,
    }


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_told_of(status: int) -> None:
    with web_server(status) as server:
        with pytest.raises(AlertNotSent, match=str(status)):
            send("hook", Webhook(url=f"http://127.0.0.1:{server.server_port}/"), None, "source", [GOOD])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "email", "server": "m", "sender": "q@example.org", "recipients": []},
        {"kind": "email", "server": "m", "sender": "q@example.org\nBcc: x@y", "recipients": ["a@b"]},
        {"kind": "email", "server": "m", "sender": "q@example.org", "recipients": ["a@b, c@d"]},
        {"kind": "email", "server": "m n", "sender": "q@example.org", "recipients": ["a@b"]},
        {"kind": "syslog", "server": "m", "port": 0},
        {"kind": "syslog", "server": "m", "transport": "icmp"},
        {"kind": "webhook", "url": "file:///etc/passwd"},
        {"kind": "webhook", "url": "http://a b"},
        {"kind": "pigeon"},
        {"kind": "webhook", "url": "http://a", "more": 1},
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SETTINGS.validate_python(settings)
