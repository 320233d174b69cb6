"""The names and addresses of a lab: no I/O.

``` text
 source 1 (.1-.4)  ──┐                ┌── target 1 (.11-.14)
 source 2 (.5-.8)  ──┼──── switch ────┼── target 2 (.15-.18)
                     └── host (.100) ─┘
```
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qreplica.lab.errors import LabIdInvalid

DEFAULT_ID = "lab"
#: Where labs live that were asked for by name.
LABS = Path("/var/lib/qreplica-lab")
#: Where the things of test runs live.
TESTS = Path("/var/tmp/qreplica-test")  # noqa: S108 - not trusted: made with mode 0700, entries checked for their owner

NETWORK = "192.168.1.0/24"
PREFIX_LENGTH = 24
HOST_ADDRESS = "192.168.1.100"
HOST_INTERFACE = "net0"
BRIDGE = "switch"
PORTS = 4
CONTROLLERS = (1, 2)


class Side(StrEnum):
    """The two subsystems, which are named so."""

    SOURCE = "source"
    TARGET = "target"


_ID = re.compile(r"[a-z0-9]{1,24}")
_SHORT = {Side.SOURCE: "src", Side.TARGET: "tgt"}
_FIRST_ADDRESS = {Side.SOURCE: 1, Side.TARGET: 11}
#: Where a browser finds the management of lab ``lab`` when nobody else listens there.
PREFERRED_MANAGEMENT_PORTS = {Side.SOURCE: 8081, Side.TARGET: 8082}


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of a lab."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Port:
    """An iSCSI port of a controller and its cable: ``plug`` is the switch's end."""

    number: int
    interface: str
    address: str
    plug: str


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller of a lab's subsystem."""

    lab: "Lab"
    subsystem: Side
    number: int

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return f"{self.lab.namespace_prefix}{_SHORT[self.subsystem]}{self.number}"

    @property
    def ports(self) -> tuple[Port, ...]:
        """Its iSCSI ports, with the white paper's addresses."""
        first = _FIRST_ADDRESS[self.subsystem] + (self.number - 1) * PORTS
        return tuple(
            Port(
                number,
                f"port{number}",
                f"192.168.1.{first + number - 1}",
                f"{_SHORT[self.subsystem]}{self.number}p{number}",
            )
            for number in range(1, PORTS + 1)
        )

    @property
    def directory(self) -> Path:
        """What belongs to its subsystem."""
        return self.lab.directory / self.subsystem

    @property
    def config_file(self) -> Path:
        """What its daemon reads."""
        return self.directory / f"controller{self.number}.toml"

    @property
    def runtime_dir(self) -> Path:
        """The daemon's own directory."""
        return self.directory / f"controller{self.number}"

    @property
    def state_dir(self) -> Path:
        """The directory that both controllers share."""
        return self.directory / "state"

    @property
    def log(self) -> Path:
        """What its daemon writes."""
        return self.directory / f"controller{self.number}.log"


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab: everything of it has ``id`` in its name, or lies in ``directory``, or carries it as a mark."""

    id: str
    root: Path = LABS

    def __post_init__(self) -> None:
        if not is_id(self.id):
            raise LabIdInvalid(id=self.id)

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.root / self.id

    @property
    def namespace_prefix(self) -> str:
        """What the names of its namespaces begin with; no other lab's do, since ids have no hyphen."""
        return f"qr-{self.id}-"

    @property
    def switch(self) -> str:
        """The namespace with the bridge."""
        return f"{self.namespace_prefix}switch"

    @property
    def host(self) -> str:
        """The namespace of the host that uses the disks."""
        return f"{self.namespace_prefix}host"

    @property
    def controllers(self) -> tuple[Controller, ...]:
        """All four."""
        return tuple(Controller(self, subsystem, number) for subsystem in Side for number in CONTROLLERS)

    def controller(self, subsystem: Side, number: int = 1) -> Controller:
        """Return one of them."""
        return Controller(self, subsystem, number)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names of all six."""
        return (self.switch, self.host, *(controller.namespace for controller in self.controllers))

    @property
    def facts_file(self) -> Path:
        """What ``up`` wrote down for those that come later."""
        return self.directory / "lab.json"

    @property
    def vendor_public_key(self) -> Path:
        """What the licenses of both subsystems are checked with."""
        return self.directory / "vendor-key.pub"

    @property
    def password_file(self) -> Path:
        """The administrator's password of both subsystems."""
        return self.directory / "admin-password"
