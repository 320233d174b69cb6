"""``qreplica alert``: who is told of events, and how."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="Alert channels: who is told of events by e-mail, syslog or a webhook.")

_PASSWORD, _KEY = "QREPLICA_MAIL_PASSWORD", "QREPLICA_WEBHOOK_KEY"

Name = Annotated[str, typer.Argument(help="The channel's name.")]
Severity = Annotated[str, typer.Option(help="The least severity that is told: info, warning or error.")]
PasswordFile = Annotated[
    str | None, typer.Option(help=f"FILE whose first line is the password; “-” is standard input. Else {_PASSWORD}.")
]
Server = Annotated[str, typer.Option(help="The server's name or address.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the alert channels."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/alerts"), _table)


@app.command()
def email(
    context: typer.Context,
    name: Name,
    server: Server,
    sender: Annotated[str, typer.Option(help="The sender's address.")],
    recipient: Annotated[list[str], typer.Option(help="A recipient's address; once for each.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls or none.")] = "starttls",
    user: Annotated[str | None, typer.Option(help="Whom to log in as.")] = None,
    password_file: PasswordFile = None,
    severity: Severity = "warning",
    as_json: Json = False,
) -> None:
    """Have events told by e-mail."""
    settings: dict[str, Any] = {"kind": "email", "server": server, "port": port, "security": security, "user": user}
    settings |= {"sender": sender, "recipients": recipient}
    secret = None
    if user is not None:
        secret = asking.secret(f"password of “{user}”", password_file, option="--password-file", variable=_PASSWORD)
    _create(context, name, settings, secret, severity, as_json=as_json)


@app.command()
def syslog(
    context: typer.Context,
    name: Name,
    server: Server,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 514,
    transport: Annotated[str, typer.Option(help="udp or tcp.")] = "udp",
    severity: Severity = "warning",
    as_json: Json = False,
) -> None:
    """Have events told to a syslog server."""
    settings = {"kind": "syslog", "server": server, "port": port, "transport": transport}
    _create(context, name, settings, None, severity, as_json=as_json)


@app.command()
def webhook(
    context: typer.Context,
    name: Name,
    url: Annotated[str, typer.Option(help="Where to POST the events as JSON.")],
    key_file: Annotated[str | None, typer.Option(help="A file with the key that signs what is sent.")] = None,
    severity: Severity = "warning",
    as_json: Json = False,
) -> None:
    """Have events told by a webhook; with a key, X-QReplica-Signature is the HMAC-SHA-256 of the body."""
    key = None if key_file is None else asking.secret("key", key_file, option="--key-file", variable=_KEY)
    _create(context, name, {"kind": "webhook", "url": url}, key, severity, as_json=as_json)


@app.command("test")
def try_out(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Send a test alert."""
    with session(context, as_json=as_json) as here:
        here.api.post(path("alerts", name, "test"))
        here.say(f"A test alert was sent to “{name}”.")


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete an alert channel."""
    with session(context, as_json=as_json) as here:
        asking.confirm(name, f"Alert channel “{name}” is told of no event any more.", yes=yes)
        here.api.delete(path("alerts", name))
        here.say(f"Alert channel “{name}” was deleted.")


def _create(
    context: typer.Context, name: str, settings: dict[str, Any], secret: str | None, severity: str, *, as_json: bool
) -> None:
    with session(context, as_json=as_json) as here:
        body = {"name": name, "settings": settings, "severity": severity, "secret": secret}
        made = here.api.post("/alerts", {key: value for key, value in body.items() if value is not None})
        here.say(f"Alert channel “{name}” was made: {made['way']}. Try it with “qreplica alert test {name}”.", made)


def _table(channels: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Name", "From", "Way", "Last sent", "Error"),
        (
            [
                one["name"],
                output.state(one["severity"]),
                one["way"],
                output.time(one["last_sent_at"]),
                output.text(one["error"]),
            ]
            for one in channels
        ),
        empty="Nobody is told of events: begin with “qreplica alert email NAME --help”.",
    )
