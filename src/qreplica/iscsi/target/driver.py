"""The iSCSI target driver contract.

One driver instance speaks for the target daemon of one controller. It knows nothing of the database: the
caller hands it the whole desired state of a node and the driver makes it so. All calls are idempotent; a call
that fails leaves what was there, or less of the node, never more than was asked.
``tests/iscsi/target/test_compliance.py`` runs one suite against every driver.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

#: The largest number of a node: tgtd puts it in front of the LUN in an NAA designator of type 3, whose own
#: type takes the upper four bits, so that larger numbers would give two nodes the same designator.
LARGEST_TID = 2**28 - 1


def scsi_id_for(vendor: str, serial: str) -> str:
    """Return the ``scsi_id`` of a VD: always the same for a serial, and no other serial's.

    It is a T10 vendor ID designator, the vendor in 8 characters and 28 hexadecimal digits (SPC-4, 7.8.6.4). tgtd also
    makes the NAA IEEE Registered Extended designator from its last 32 characters, whatever the node's number, and that
    is the one by which Linux and its multipath know a disk.
    """
    return f"{vendor:<8}{hashlib.sha256(serial.encode()).hexdigest()[:28]}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a VD tells initiators about itself: the same from both controllers, unlike any other disk.

    ``vendor`` (8 ASCII characters at most) and ``product`` (16) go in standard INQUIRY data, ``serial`` (36)
    in VPD page 0x80, ``scsi_id`` (see ``scsi_id_for``) in the T10 and NAA designators of VPD page 0x83
    (SPC-4, 7.8).
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

    ``tid`` numbers the node in the target daemon (1 to LARGEST_TID) and should differ between subsystems,
    since tgtd makes the second NAA designator of each LUN from it. ``initiators`` are the initiator names
    admitted; None admits everybody, an empty set nobody. ``chap`` is what initiators must prove,
    ``mutual_chap`` what the node proves to them; a CHAP name has one secret in the whole daemon.
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
class TargetConnection:
    """A TCP connection of an initiator: the portal that it came in by, and the initiator's address."""

    portal: PortalSpec
    address: str


@dataclass(frozen=True, slots=True)
class TargetSession:
    """A session that an initiator holds with a node; ``session`` is the daemon's number for it."""

    session: int
    initiator: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counters:
    """Bytes and commands that a LUN has completed for the sessions that exist now.

    What ended sessions did is not in it: tgtd counts per session. Bytes are those transferred, so a WRITE
    SAME counts one block, INQUIRY and the like count as reads, commands without data are not counted.
    """

    read_bytes: int
    read_commands: int
    write_bytes: int
    write_commands: int


class TargetDriver(ABC):
    """The target daemon of one controller. Calls may come from any thread; changes go one at a time.

    Every call may raise TargetDaemonDown and TargetDaemonSilent; the caller then tries again later. A daemon
    that was started anew is empty: the caller applies everything again.
    """

    @abstractmethod
    def apply_node(self, spec: NodeSpec) -> None:
        """Make the node exactly as specified: create it, or change what differs without disturbing sessions.

        A LUN whose file (another one under that path), identity or read-only flag differs is taken away and
        made anew; the node's sessions are ended for that when they keep it busy. One whose file has only
        grown is made anew while initiators wait, without a word but that the list of LUNs has changed: they
        ask for its new size when told to (a rescan). A node of that IQN with another tid is removed first,
        its sessions with it. Access is granted last: never to a LUN not
        yet right. Raises, before anything is changed, NodeSpecInvalid, TidTaken, AccountTaken,
        LunFileUnusable; FencingTimedOut when old sessions that had to go did not.
        """

    @abstractmethod
    def remove_node(self, iqn: str) -> None:
        """Remove the node, its LUNs, accounts and sessions; one that is gone is removed already.

        Waits until no session of it runs a command any more. Raises FencingTimedOut; the node then admits
        nobody.
        """

    @abstractmethod
    def nodes(self) -> dict[str, int]:
        """Return the tid of each node that exists, by IQN."""

    @abstractmethod
    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return the node's sessions; one stays listed while a command of it runs. Raises NodeMissing."""

    @abstractmethod
    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """Cut off every present session of the node for good, then apply ``spec``, which has a new tid.

        On return: nobody but the spec's initiators is admitted, no older session is listed, no command of one
        can still write, a login that was half done has died with the old tid. Raises FencingTimedOut after
        ``timeout`` seconds; the node then admits nobody. Raises, before anything is changed, FenceNeedsNewTid
        and what ``apply_node`` does. Like every failure after the old sessions ended, it may leave no node:
        then nobody is admitted either.
        """

    @abstractmethod
    def set_portals(self, portals: frozenset[PortalSpec]) -> None:
        """Listen on exactly these. A portal that is taken away accepts nobody new, and who came in by it is cut off.

        One that cannot be listened on does not keep the others from it. Raises PortalUnusable after all were
        tried.
        """

    @abstractmethod
    def portals(self) -> frozenset[PortalSpec]:
        """Return what it listens on."""

    @abstractmethod
    def connections(self) -> list[TargetConnection]:
        """Return the connections of initiators."""

    @abstractmethod
    def counters(self, iqn: str, lun: int) -> Counters:
        """Return what the LUN has done. Raises NodeMissing, LunMissing."""
