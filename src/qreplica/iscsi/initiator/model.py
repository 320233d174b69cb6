"""What the initiator is given and gives back: portals, CHAP information, disks, completions."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import ChapInvalid, IscsiNameInvalid, PortalInvalid

_NAME = re.compile(r"(iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9.-]+(:\S+)?|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}){1,2})")
_LONGEST_NAME = 223
_LONGEST_TEXT = 255
_PORTS = range(1, 65536)


def check_iscsi_name(name: str) -> str:
    """Return ``name`` if it is an iSCSI name (RFC 7143, 4.2.7; RFC 3721). Raises IscsiNameInvalid."""
    if len(name.encode()) > _LONGEST_NAME or not name.isprintable() or _NAME.fullmatch(name) is None:
        raise IscsiNameInvalid(name=name)
    return name


@dataclass(frozen=True, slots=True)
class Portal:
    """The IP address and TCP port of a target. Raises PortalInvalid for anything else, host names too."""

    address: str
    port: int = 3260

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise PortalInvalid(address=self.address, port=self.port) from None
        if self.port not in _PORTS:
            raise PortalInvalid(address=self.address, port=self.port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Chap:
    """A CHAP name and secret (RFC 7143, 12.1), of 1 to 255 bytes each. The secret never shows in ``repr``."""

    user: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for what, text in (("name", self.user), ("secret", self.secret)):
            if not text or len(text.encode()) > _LONGEST_TEXT:
                raise ChapInvalid(reason=f"its {what} must have 1 to {_LONGEST_TEXT} bytes")
            if not text.isprintable():
                raise ChapInvalid(reason=f"its {what} has a character that cannot be printed")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Who made a LUN, from standard INQUIRY data (SPC-4, 6.6.2), without padding. ``device_type`` 0 is a disk."""

    vendor: str
    product: str
    revision: str
    device_type: int = 0


@dataclass(frozen=True, slots=True)
class Designator:
    """One designator of VPD page 0x83 (SPC-4, 7.8.6): ``kind`` 1 is T10 vendor, 2 EUI-64, 3 NAA, 8 SCSI name.

    ``text`` is the identifier, in hexadecimal where it is binary. ``association`` is 0 for the logical unit, 1 for
    the target port, 2 for the target device.
    """

    kind: int
    association: int
    text: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """The size of a LUN, from READ CAPACITY(16) (SBC-3, 5.16): bytes, except ``blocks``, which counts."""

    blocks: int
    block_size: int
    thin: bool

    @property
    def size(self) -> int:
        """Bytes of the whole disk."""
        return self.blocks * self.block_size


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """The most that one command may do, in blocks, from VPD page 0xB0 (SBC-3, 6.5.3); 0: no limit reported."""

    transfer: int = 0
    optimal_transfer: int = 0
    unmap: int = 0
    unmap_ranges: int = 0
    write_same: int = 0


@dataclass(frozen=True, slots=True)
class Provisioning:
    """How a LUN gives space back, from VPD page 0xB2 (SBC-3, 6.5.4)."""

    unmap: bool
    write_same_16: bool
    reads_zeros: bool


class Completion(NamedTuple):
    """The end of a submitted command: ``error`` is None when the target executed it wholly."""

    tag: int
    error: QReplicaError | None


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Ask after ``interval`` seconds of silence; a path silent for ``intervals`` of them (2 at least) is dead."""

    interval: float = 5.0
    intervals: int = 2

    def __post_init__(self) -> None:
        if not self.interval > 0 or self.intervals < 2:  # noqa: PLR2004 - one interval to ask, one to wait
            raise ValueError(f"a keep-alive of {self.intervals} intervals of {self.interval} s cannot work")


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node that a portal told of, and the portals it can be reached by."""

    iqn: str
    portals: tuple[Portal, ...]
