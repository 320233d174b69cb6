"""Adding an alert receiver."""

from typing import Any, Final

from nicegui import ui

from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.looking import Looking

_KINDS: Final = {"email": "E-mail", "syslog": "Syslog", "webhook": "Webhook"}
_SECURITY: Final = {"starttls": "STARTTLS", "tls": "TLS from the start", "none": "none"}
_SEVERITIES: Final = {"info": "everything", "warning": "warnings and errors", "error": "errors alone"}


def open_for(here: Looking) -> None:
    """Open the dialog."""
    with dialog("Add a receiver") as made:
        form = _Form()
        buttons(
            here,
            made,
            "Add",
            lambda: here.rest.post("alerts", body=form.body()),
            "The receiver was added: send it a test.",
        )


class _Form:
    def __init__(self) -> None:
        self._name = ui.input("Name").props('autofocus autocomplete=off hint="Such as storage-team"')
        self._severity = ui.select(_SEVERITIES, label="Told of", value="warning")
        self._kind = ui.toggle(_KINDS, value="email").props('aria-label="Kind"')
        with self._part("email"):
            self._mail_server = ui.input("Mail server").props("autocomplete=off")
            self._mail_port = ui.number("TCP port", value=587, min=1, max=65535, precision=0)
            self._security = ui.select(_SECURITY, label="Encryption", value="starttls")
            self._user = ui.input("User name, if the server asks for one").props("autocomplete=off")
            self._password = ui.input("Password", password=True).props("autocomplete=new-password")
            self._sender = ui.input("Sender").props("autocomplete=off")
            self._recipients = ui.input("Recipients").props('autocomplete=off hint="Separated by commas"')
        with self._part("syslog"):
            self._log_server = ui.input("Syslog server").props("autocomplete=off")
            self._log_port = ui.number("Port", value=514, min=1, max=65535, precision=0)
            self._transport = ui.select({"udp": "UDP", "tcp": "TCP"}, label="By", value="udp")
        with self._part("webhook"):
            self._url = ui.input("URL").props('autocomplete=off hint="It is sent a POST of JSON"')
            self._key = ui.input("Key that signs what is sent, if any", password=True)
            self._key.props("autocomplete=new-password")

    def _part(self, kind: str) -> ui.element:
        return ui.element("div").classes("fields").bind_visibility_from(self._kind, "value", lambda one: one == kind)

    def body(self) -> dict[str, Any]:
        settings, secret = {"email": self._mail, "syslog": self._syslog, "webhook": self._webhook}[self._kind.value]()
        return {
            "name": self._name.value,
            "severity": self._severity.value,
            "settings": {"kind": self._kind.value, **settings},
            "secret": secret or None,
        }

    def _mail(self) -> tuple[dict[str, Any], str]:
        recipients = [one.strip() for one in self._recipients.value.split(",") if one.strip()]
        settings = {
            "server": self._mail_server.value.strip(),
            "port": int(self._mail_port.value or 0),
            "security": self._security.value,
            "user": self._user.value or None,
            "sender": self._sender.value.strip(),
            "recipients": recipients,
        }
        return settings, self._password.value

    def _syslog(self) -> tuple[dict[str, Any], str]:
        port = int(self._log_port.value or 0)
        return {"server": self._log_server.value.strip(), "port": port, "transport": self._transport.value}, ""

    def _webhook(self) -> tuple[dict[str, Any], str]:
        return {"url": self._url.value.strip()}, self._key.value
