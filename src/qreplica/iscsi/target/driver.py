"""The iSCSI target driver contract.

One driver instance speaks for the target daemon of one controller. It knows nothing of the database: the caller hands
it the whole desired state of a node and the driver makes it so. All calls are idempotent; a call that fails leaves
what was there, or less of the node, never more than was asked. ``tests/iscsi/target/test_compliance.py`` runs one
suite against every driver.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """What a VD tells initiators about itself; the same from both controllers, unlike any other disk in the world.

    ``vendor`` (8 characters at most) and ``product`` (16) go in standard INQUIRY data, ``serial`` in VPD page 0x80,
    ``scsi_id`` in the T10 designator of VPD page 0x83 (SPC-4, 7.8).
    """

    vendor: str
    product: str
    serial: str
    scsi_id: str


@dataclass(frozen=True, slots=True)
class LunSpec:
    """A VD, or a snapshot of one, under a LUN number of a node (1 to 255)."""

    number: int
    path: Path
    identity: Identity
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """A CHAP name and secret (RFC 7143, 12.1). The secret never shows in ``repr``."""

    user: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The whole desired state of an iSCSI node.

    ``tid`` numbers the node in the target daemon (1 to 2**31-1) and must differ between subsystems, since tgtd makes the NAA
    designator from it. ``initiators`` are the initiator names admitted; None admits everybody, an empty set nobody.
    ``chap`` is what initiators must prove, ``mutual_chap`` what the node proves to them.
    """

    tid: int
    iqn: str
    luns: tuple[LunSpec, ...] = ()
    initiators: frozenset[str] | None = frozenset()
    chap: Credentials | None = None
    mutual_chap: Credentials | None = None


@dataclass(frozen=True, slots=True)
class PortalSpec:
    """An address and TCP port that the target daemon listens on."""

    address: str
    port: int = 3260


@dataclass(frozen=True, slots=True)
class TargetSession:
    """A session that an initiator holds with a node; ``session`` is the daemon's number for it."""

    session: int
    initiator: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counters:
    """Bytes and commands that a LUN has completed since the node was made."""

    read_bytes: int
    read_commands: int
    write_bytes: int
    write_commands: int


class TargetDriver(ABC):
    """The target daemon of one controller."""

    @abstractmethod
    def apply_node(self, spec: NodeSpec) -> None:
        """Make the node exactly as specified: create it, or change only what differs, without disturbing sessions.

        A LUN whose file, identity or read-only flag differs is taken away and made anew. A node of that IQN with another
        tid is removed first, its sessions with it. Access is granted last: never to a LUN not yet right.
        """

    @abstractmethod
    def remove_node(self, iqn: str) -> None:
        """Remove the node, its LUNs, accounts and sessions. Waits until no session of it runs a command any more."""

    @abstractmethod
    def nodes(self) -> dict[str, int]:
        """Return the tid of each node that exists, by IQN."""

    @abstractmethod
    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return the node's sessions; one stays listed while any command of it still runs."""

    @abstractmethod
    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """Cut off every present session of the node for good, then apply ``spec``, whose tid must be a new one.

        On return: nobody but the spec's initiators is admitted, no older session is listed, no command of one
        can still write, a login that was half done has died with the old tid. Raises FencingTimedOut after
        ``timeout`` seconds; the node then admits nobody.
        """

    @abstractmethod
    def set_portals(self, portals: frozenset[PortalSpec]) -> None:
        """Listen on exactly these. A portal taken away accepts nobody new; its sessions live on."""

    @abstractmethod
    def portals(self) -> frozenset[PortalSpec]:
        """Return what it listens on."""

    @abstractmethod
    def counters(self, iqn: str, lun: int) -> Counters:
        """Return what the LUN has done. Raises NodeMissing."""
