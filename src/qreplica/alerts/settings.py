"""How each kind of channel is reached. What is secret about it is kept apart."""

import re
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

#: RFC 5321, 4.5.3.1, less what nobody uses: no quotes, no spaces, and nothing that could begin another header.
_MAILBOX = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$"
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?$"

_URL: Final = r"^https?://[!-~]{1,2000}$"


def _fits(pattern: str, what: str) -> BeforeValidator:
    """Return what says, of a text that the pattern does not fit, what it should have been."""

    def check(value: object) -> object:
        if isinstance(value, str) and re.search(pattern.removesuffix("$") + r"\Z", value) is None:
            raise PydanticCustomError("unfit", "It is no {what}", {"what": what})
        return value

    return BeforeValidator(check)


Mailbox = Annotated[str, Field(pattern=_MAILBOX), _fits(_MAILBOX, "mail address, such as storage@example.org")]
Server = Annotated[
    str,
    Field(pattern=_HOST, description="A name or an address"),
    _fits(_HOST, "name or address of a server, such as mail.example.org"),
]
Url = Annotated[str, Field(pattern=_URL), _fits(_URL, "HTTP address, such as https://example.org/alerts")]
TcpPort = Annotated[int, Field(ge=1, le=65535)]


class Security(StrEnum):
    """How a mail server's connection is secured: STARTTLS (RFC 3207), TLS from the start (RFC 8314), or not at all."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Email(_Settings):
    """By a mail server (SMTP, RFC 5321)."""

    kind: Literal["email"] = "email"
    server: Server
    port: TcpPort = 587
    security: Security = Security.STARTTLS
    user: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    sender: Mailbox
    recipients: Annotated[tuple[Mailbox, ...], Field(min_length=1, max_length=50)]

    @property
    def way(self) -> str:
        """Where it goes, for people."""
        return f"e-mail to {', '.join(self.recipients)} over {self.server}:{self.port}"


class Syslog(_Settings):
    """By a syslog server (RFC 5424): a datagram an event (RFC 5426), or over TCP, each after its length (RFC 6587)."""

    kind: Literal["syslog"] = "syslog"
    server: Server
    port: TcpPort = 514
    transport: Literal["udp", "tcp"] = "udp"

    @property
    def way(self) -> str:
        """Where it goes, for people."""
        return f"syslog to {self.server}:{self.port} ({self.transport})"


class Webhook(_Settings):
    """By an HTTP POST of JSON, signed with the secret if there is one."""

    kind: Literal["webhook"] = "webhook"
    url: Url

    @property
    def way(self) -> str:
        """Where it goes, for people."""
        return f"POST to {self.url}"


Settings = Annotated[Email | Syslog | Webhook, Field(discriminator="kind")]
SETTINGS: TypeAdapter[Email | Syslog | Webhook] = TypeAdapter(Settings)
