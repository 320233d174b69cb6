"""What a controller's daemon reads at start: one TOML file."""

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qreplica.errors import Invalid
from qreplica.names import NotAnIqn, check_iqn
from qreplica.units import KIB, MIB

_LARGEST_PORT = 65535


class ConfigurationInvalid(Invalid):
    """The configuration file cannot be used."""

    kind = "configuration-invalid"
    template = "The configuration {file} cannot be used because {reason}: correct it and start qreplicad again."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PortConfig(_Strict):
    """One iSCSI port of this controller: its network interface and address."""

    number: Annotated[int, Field(ge=1, le=4)]
    interface: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]
    address: str
    prefix_length: Annotated[int, Field(ge=1, le=32)] = 24

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return str(ipaddress.IPv4Address(value))


class TransferConfig(_Strict):
    """How a worker sends: bytes of one write, commands in flight, bytes and seconds between checkpoints.

    The defaults are what was measured to be fastest; see ``replication.transfer.Settings``.
    """

    chunk: Annotated[int, Field(ge=64 * KIB, le=MIB, multiple_of=4 * KIB)] = 256 * KIB
    depth: Annotated[int, Field(ge=1, le=96)] = 32
    checkpoint_bytes: Annotated[int, Field(ge=MIB)] = 256 * MIB
    checkpoint_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    checkpoint_pause: Annotated[float, Field(ge=0, le=3600)] = 1.0


class ClusterConfig(_Strict):
    """How the controllers of a subsystem watch each other; both need the same.

    ``heartbeat_seconds`` is how often each shows that it lives and renews its leases; after ``takeover_seconds``
    without a sign of life the other one takes over what it did. ``failback``: whether it hands that back by itself when
    the first one lives again, after the cycle that runs, or only when it is told to. When both are restarted, the
    second waits ``restart_pause_seconds`` after the first is back, for hosts to log in there again.
    """

    heartbeat_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    takeover_seconds: Annotated[float, Field(gt=0, le=300)] = 5.0
    failback: Annotated[str, Field(pattern="^(automatic|manual)$")] = "automatic"
    restart_pause_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0

    @model_validator(mode="after")
    def _leaves_time_for_a_beat(self) -> Self:
        if self.takeover_seconds < 3 * self.heartbeat_seconds:
            message = "takeover_seconds must be at least three times heartbeat_seconds"
            raise ValueError(message)
        return self


class Config(_Strict):
    """The whole configuration.

    ``state_dir`` is shared by both controllers of a subsystem: the database, the secrets key, RG mounts and, on
    first start, the one-time ``setup-secret``. ``runtime_dir`` is this controller's own: pid files, sockets, logs.
    ``management`` is the address of REST and UI when no listening socket is inherited (socket activation:
    LISTEN_FDS=1, file descriptor 3). It speaks TLS with ``tls_certificate`` (PEM, its issuers after it) and ``tls_key``
    (PEM, unencrypted, mode 0600), or with a certificate of its own making; ``tls = false`` is for loopback alone.
    ``iscsi_port`` and ``peer_port`` are the TCP ports on every iSCSI port's address.
    ``tgt_control_port`` numbers tgtd's management socket and must differ between daemons of one machine.
    ``license_keys`` are the PEM files of the vendors' public keys that licenses are checked with.
    ``login_idle_minutes`` is for how long a login may lie unused until it ends; both controllers need the same.
    """

    subsystem: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    controller: Annotated[int, Field(ge=1, le=2)]
    state_dir: Path
    runtime_dir: Path
    database: str | None = None
    management: str = "127.0.0.1:8080"
    tls: bool = True
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    iscsi_port: Annotated[int, Field(ge=1, le=65535)] = 3260
    peer_port: Annotated[int, Field(ge=1, le=65535)] = 3261
    tgt_control_port: Annotated[int, Field(ge=1, le=32767)]
    iqn_prefix: Annotated[str, Field(max_length=100)] = "iqn.2026-11.org.qreplica"
    license_keys: tuple[Path, ...] = ()
    login_idle_minutes: Annotated[int, Field(ge=1, le=720)] = 30
    log_format: Annotated[str, Field(pattern="^(json|text)$")] = "json"
    ports: Annotated[tuple[PortConfig, ...], Field(min_length=1, max_length=4)]
    transfer: TransferConfig = TransferConfig()
    cluster: ClusterConfig = ClusterConfig()

    @field_validator("state_dir", "runtime_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        # tgtd separates what it is told by commas, and is told paths below.
        if not value.is_absolute() or "," in str(value) or not str(value).isprintable():
            message = "it must be an absolute path without commas"
            raise ValueError(message)
        return value

    @field_validator("tls_certificate", "tls_key")
    @classmethod
    def _is_absolute_too(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            message = "it must be an absolute path"
            raise ValueError(message)
        return value

    @field_validator("license_keys")
    @classmethod
    def _are_absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        if not all(file.is_absolute() for file in value):
            message = "each must be an absolute path"
            raise ValueError(message)
        return value

    @field_validator("iqn_prefix")
    @classmethod
    def _begins_an_iqn(cls, value: str) -> str:
        try:
            check_iqn(f"{value}:node")
        except NotAnIqn as error:
            message = "it must be the beginning of an IQN, such as iqn.2026-11.org.example"
            raise ValueError(message) from error
        return value

    @field_validator("management")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        address, _, port = value.rpartition(":")
        ipaddress.IPv4Address(address)
        if not (port.isdecimal() and int(port) <= _LARGEST_PORT):
            message = "it must be an IPv4 address and a TCP port, such as 127.0.0.1:8080"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for what in ("number", "address"):
            values = [getattr(port, what) for port in self.ports]
            if twice := {value for value in values if values.count(value) > 1}:
                message = f"two ports have the same {what} {min(twice)}"
                raise ValueError(message)
        if (self.tls_certificate is None) != (self.tls_key is None):
            message = "tls_certificate and tls_key go together"
            raise ValueError(message)
        if not self.tls and self.tls_certificate is not None:
            message = "tls_certificate is of no use with tls = false"
            raise ValueError(message)
        if self.iscsi_port == self.peer_port:
            message = "iscsi_port and peer_port must differ"
            raise ValueError(message)
        return self

    @property
    def management_address(self) -> tuple[str, int]:
        """The address and TCP port of ``management``."""
        address, _, port = self.management.rpartition(":")
        return address, int(port)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the state database."""
        return self.database or f"sqlite:///{self.state_dir / 'qreplica.db'}"

    @property
    def raid_group_mounts(self) -> Path:
        """The directory under which RGs are mounted."""
        return self.state_dir / "rg"

    @property
    def tgtd_pid_file(self) -> Path:
        """The pid file of this controller's tgtd."""
        return self.tgtd_pid_files[self.controller - 1]

    @property
    def tgtd_pid_files(self) -> tuple[Path, ...]:
        """The pid files of both controllers' tgtds, whether they run or not: a snapshot stops them all."""
        return tuple(self.state_dir / "tgtd" / f"{number}.pid" for number in (1, 2))


def load(file: Path) -> Config:
    """Read and check ``file``. Raises ConfigurationInvalid."""
    try:
        return Config.model_validate(tomllib.loads(file.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationInvalid(file=file, reason=error) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationInvalid(file=file, reason=f"{place}: {reason}" if place else reason) from error
