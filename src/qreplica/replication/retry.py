"""Which failures pass by themselves, and how long to wait before the next try."""

from collections.abc import Iterator

from qreplica.errors import QReplicaError, Unavailable
from qreplica.iscsi.errors import (
    ChapRefused,
    CommandFailed,
    LoginRefused,
    NotIscsi,
    PortalUnreachable,
    SessionLost,
    TargetBusy,
    TargetUnproven,
)
from qreplica.peer.errors import (
    ClockSkew,
    MessageTooSlow,
    NoSuchNode,
    PeerBusy,
    PeerFailed,
    PeerInternalError,
    RequestReplayed,
    WrongChap,
)
from qreplica.replication.errors import NodeNotOffered, PathRemoved, PathToAnotherSubsystem, WrongDisk
from qreplica.replication.recovery_errors import FencingFailed, StaleEpoch, VdMismatch
from qreplica.state.errors import StateDiskFull

LONGEST = 30.0
_FIRST = 1.0
_UNIT_ATTENTION = 0x06

#: A target that was started again admits nobody until it is claimed anew, and says the same as to a stranger. A clock
#: that jumped is set again by whatever keeps the time.
_PATH = (
    PeerFailed,
    ClockSkew,
    PeerInternalError,
    PeerBusy,
    RequestReplayed,
    MessageTooSlow,
    StaleEpoch,
    PortalUnreachable,
    NotIscsi,
    LoginRefused,
    SessionLost,
    TargetBusy,
    Unavailable,
    StateDiskFull,
    PathRemoved,
)
#: What goes wrong on one path and may well go right on another, a person's help needed or not.
_OF_THE_PATH = (
    PeerFailed,
    ClockSkew,
    PeerInternalError,
    MessageTooSlow,
    PortalUnreachable,
    NotIscsi,
    LoginRefused,
    SessionLost,
    FencingFailed,
    PathRemoved,
    WrongDisk,
    NoSuchNode,
    VdMismatch,
    WrongChap,
    PathToAnotherSubsystem,
    NodeNotOffered,
)
_NEED_A_HUMAN = (ChapRefused, TargetUnproven)


def passes(error: QReplicaError) -> bool:
    """Tell whether trying again may help without anybody doing anything here.

    A unit attention in the middle of the work means that the target was reset (SAM-5, 5.14): what it had not flushed
    may be lost, so the work goes on from its checkpoint.
    """
    if isinstance(error, _NEED_A_HUMAN):
        return False
    if isinstance(error, CommandFailed) and error.sense_key == _UNIT_ATTENTION:
        return True
    return isinstance(error, _PATH)


def blames_path(error: QReplicaError) -> bool:
    """Tell whether another path may work where one failed with ``error``."""
    return isinstance(error, _OF_THE_PATH)


def delays() -> Iterator[float]:
    """Yield the seconds to wait after each failure in a row."""
    seconds = _FIRST
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST)
