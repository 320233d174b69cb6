"""The two ways to a job's target: the peer conversation, and the iSCSI session that carries the data."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from sqlalchemy import select
from sqlalchemy.orm import Session as SqlSession

from qreplica.iscsi.initiator import Capacity, Chap, Portal, Session
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import messages
from qreplica.peer.client import PeerClient
from qreplica.replication.errors import TargetTooSmall, WrongDisk
from qreplica.replication.transfer import Lun
from qreplica.state.database import Database
from qreplica.state.models import Job, Port, Subsystem


@dataclass(frozen=True, slots=True)
class Way:
    """An address of the target, and the TCP ports of iSCSI and of the peer conversation."""

    address: str
    port: int
    peer_port: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job replicates to and who it says it is. ``ways`` are in order of preference.

    ``interface`` is that of this controller's QReplica port; None lets the routing table choose.
    """

    job: str
    job_name: str
    subsystem: str
    subsystem_name: str
    node: str
    lun: int
    vd: str
    serial: str
    chap: Chap | None
    mutual: Chap | None
    pairing_secret: str | None = field(repr=False)
    ways: tuple[Way, ...]
    interface: str | None


class Peer(Protocol):
    """What a cycle asks of the target; ``PeerClient`` says what the calls promise."""

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        """Take the backup VD."""

    def begin(self, iqn: str, begin: messages.Begin) -> messages.Begun:
        """Start or resume a generation."""

    def commit(self, iqn: str, commit: messages.Commit) -> messages.Committed:
        """Make it a recovery point."""

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:
        """Return what the backup VD holds."""

    def release(self, iqn: str, release: messages.Release) -> None:
        """Give it back."""

    def close(self) -> None:
        """Close what is open."""


class DiskSession(Lun, Protocol):
    """What a cycle needs of an iSCSI session; ``Session`` says what the calls promise."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def serial(self, lun: int) -> str:
        """Return the unit serial number."""

    def capacity(self, lun: int) -> Capacity:
        """Return the size."""

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        """Make a range read as zeros."""


class Links(Protocol):
    """Makes both."""

    def peer(self, target: Target, way: Way) -> Peer:
        """Return a client; nothing is sent yet."""

    def session(self, target: Target, way: Way, initiator: str) -> DiskSession:
        """Log in to the node under the initiator name that the claim gave."""


class NetworkLinks:
    """The real ones."""

    def peer(self, target: Target, way: Way) -> PeerClient:
        """See Links."""
        credentials = None if target.chap is None else Credentials(target.chap.user, target.chap.secret)
        return PeerClient(way.address, way.peer_port, credentials, target.pairing_secret, interface=target.interface)

    def session(self, target: Target, way: Way, initiator: str) -> Session:
        """See Links. Raises what ``Session.connect`` does."""
        return Session.connect(
            Portal(way.address, way.port),
            target.node,
            initiator,
            chap=target.chap,
            mutual=target.mutual,
            interface=target.interface,
        )


def target_of(database: Database, job_id: str, controller: int) -> Target:
    """Return what is persisted of the job's target, and which of the ``controller``'s interfaces leads to it."""
    with database.session(read_only=True) as session:
        job = session.get_one(Job, job_id)
        subsystem = session.scalars(select(Subsystem)).one()
        return Target(
            job=job.id,
            job_name=job.name,
            subsystem=subsystem.id,
            subsystem_name=subsystem.name,
            node=job.target_node,
            lun=job.target_lun,
            vd=job.target_vd,
            serial=job.target_serial,
            chap=chap_of(job.chap_user, job.chap_secret),
            mutual=chap_of(job.mutual_user, job.mutual_secret),
            pairing_secret=job.pairing_secret,
            ways=tuple(Way(path.address, path.port, path.peer_port) for path in job.paths),
            interface=qreplica_interface(session, controller),
        )


def qreplica_interface(session: SqlSession, controller: int) -> str | None:
    """Return the network interface of the controller's QReplica port, None when it has none."""
    return session.scalar(select(Port.interface).where(Port.controller == controller, Port.qreplica.is_(True)))


def chap_of(user: str | None, secret: str | None) -> Chap | None:
    """Return CHAP information as the initiator takes it, None where there is none."""
    return None if user is None or secret is None else Chap(user, secret)


def claim_of(target: Target, epoch: int, source_size: int) -> messages.Claim:
    """Return the message that takes the backup VD."""
    return messages.Claim(
        job=target.job,
        job_name=target.job_name,
        source_subsystem=target.subsystem,
        source_subsystem_name=target.subsystem_name,
        lun=target.lun,
        vd=target.vd,
        source_size=source_size,
        epoch=epoch,
    )


def check_claimed(target: Target, lineage: messages.Lineage) -> None:
    """Raise WrongDisk unless the claim took the job's backup VD."""
    for what, expected, found in (
        ("id", target.vd, lineage.vd),
        ("serial number", target.serial, lineage.serial),
        ("LUN number", target.lun, lineage.lun),
    ):
        if expected != found:
            raise WrongDisk(lun=target.lun, node=target.node, what=what, found=found, expected=expected)


def check_disk(session: DiskSession, target: Target, size: int) -> int:
    """Return the LUN's size. Raise WrongDisk or TargetTooSmall unless it is the backup VD and holds ``size`` bytes.

    The serial number is the target's own word for its VD (VPD page 0x80): nothing may be written before it is right.
    """
    found = session.serial(target.lun)
    if found != target.serial:
        raise WrongDisk(lun=target.lun, node=target.node, what="serial number", found=found, expected=target.serial)
    capacity = session.capacity(target.lun).size
    if capacity < size:
        raise TargetTooSmall(node=target.node, lun=target.lun, needed=size, found=capacity)
    return capacity
