"""The two ways to a job's target: the peer conversation, and the iSCSI session that carries the data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session as SqlSession

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Capacity, Chap, Designator, Portal, Session
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import messages
from qreplica.peer.client import PeerClient
from qreplica.replication.errors import NodeNotOffered, PathToAnotherSubsystem, TargetTooSmall, WrongDisk
from qreplica.replication.plain_keys import initiator_of
from qreplica.replication.transfer import Lun
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, PathState, Port, Subsystem
from qreplica.state.plain_models import PlainTarget


@dataclass(frozen=True, slots=True)
class Way:
    """An address of the target, and the TCP ports of iSCSI and of the peer conversation.

    ``path`` is the id of the job's path that it is, and ``state`` that one's.
    """

    address: str
    port: int
    peer_port: int
    path: str = ""
    state: PathState = PathState.STANDBY

    @property
    def portal(self) -> Portal:
        """The iSCSI portal. Raises PortalInvalid."""
        return Portal(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Plain:
    """What is particular to a plain target: the initiator name by which its administrator knows this subsystem."""

    initiator: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job replicates to and who it says it is. ``ways`` are in order of preference.

    ``subsystem`` is our own, ``at`` the target's; both are ids, each with its name.
    ``interface`` is that of this controller's QReplica port; None lets the routing table choose. ``plain`` is None for
    a backup VD; of a plain target ``serial`` is the disk's identity.
    """

    job: str
    job_name: str
    subsystem: str
    subsystem_name: str
    at: str
    at_name: str
    node: str
    lun: int
    vd: str
    serial: str
    chap: Chap | None
    mutual: Chap | None
    pairing_secret: str | None = field(repr=False)
    ways: tuple[Way, ...]
    interface: str | None
    plain: Plain | None = None


class Peer(Protocol):
    """What a cycle asks of the target; ``PeerClient`` says what the calls promise."""

    def nodes(self) -> messages.NodeList:
        """Return the nodes that hold backup VDs."""

    def backup_vds(self, iqn: str) -> messages.BackupVdList:
        """Return the LUNs of a node."""

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        """Take the backup VD."""

    def begin(self, iqn: str, begin: messages.Begin) -> messages.Begun:
        """Start or resume a generation."""

    def compare(self, iqn: str, compare: messages.Compare) -> messages.Digests:
        """Return what the live backup VD holds from an offset on."""

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

    def identification(self, lun: int) -> list[Designator]:
        """Return the designators."""

    def capacity(self, lun: int) -> Capacity:
        """Return the size."""

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        """Make a range read as zeros."""


class _Closes(Protocol):
    def close(self) -> None: ...


_Peer = TypeVar("_Peer", bound=_Closes)
_Answer = TypeVar("_Answer")


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
            way.portal,
            target.node,
            initiator,
            chap=target.chap,
            mutual=target.mutual,
            interface=target.interface,
        )


def ask_by_any(target: Target, connect: Callable[[Target, Way], _Peer], ask: Callable[[_Peer], _Answer]) -> _Answer:
    """Ask the target by each way in turn, those known to have failed last; return the first answer.

    Raises what the last way tried raised.
    """
    failure: QReplicaError | None = None
    for way in sorted(target.ways, key=lambda way: way.state is PathState.FAILED):
        peer = connect(target, way)
        try:
            return ask(peer)
        except QReplicaError as error:
            failure = error
        finally:
            peer.close()
    raise failure or LookupError(f"job {target.job_name} has no path")


def target_of(database: Database, job_id: str, controller: int) -> Target:
    """Return what is persisted of the job's target, and which of the ``controller``'s interfaces leads to it."""
    with database.session(read_only=True) as session:
        return target_in(session, session.get_one(Job, job_id), controller)


def target_in(session: SqlSession, job: Job, controller: int) -> Target:
    """Return the same as ``target_of``, in a transaction."""
    subsystem = session.scalars(select(Subsystem)).one()
    return Target(
        job=job.id,
        job_name=job.name,
        subsystem=subsystem.id,
        subsystem_name=subsystem.name,
        at=job.target_subsystem,
        at_name=job.target_subsystem_name,
        node=job.target_node,
        lun=job.target_lun,
        vd=job.target_vd,
        serial=job.target_serial,
        chap=chap_of(job.chap_user, job.chap_secret),
        mutual=chap_of(job.mutual_user, job.mutual_secret),
        pairing_secret=job.pairing_secret,
        ways=tuple(way_of(path) for path in job.paths),
        interface=qreplica_interface(session, controller),
        plain=None if session.get(PlainTarget, job.id) is None else Plain(initiator_here(session)),
    )


def initiator_here(session: SqlSession) -> str:
    """Return the initiator name of this subsystem at plain targets."""
    subsystem = session.scalars(select(Subsystem)).one()
    return initiator_of(subsystem.iqn_prefix, subsystem.id)


def way_of(path: Path) -> Way:
    """Return the way that a path is."""
    return Way(path.address, path.port, path.peer_port, path.id, path.state)


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


def check_subsystem(here: messages.NodeList, target: Target, way: Way) -> None:
    """Raise PathToAnotherSubsystem or NodeNotOffered unless the job's target answered, and has its node."""
    if here.subsystem_id != target.at:
        raise PathToAnotherSubsystem(
            address=way.address,
            found=here.subsystem,
            found_id=here.subsystem_id,
            job=target.job_name,
            expected=target.at_name,
            expected_id=target.at,
        )
    if target.node not in {one.iqn for one in here.nodes}:
        names = ", ".join(one.iqn for one in here.nodes) or "none"
        raise NodeNotOffered(subsystem=here.subsystem, address=way.address, node=target.node, nodes=names)


def check_serial(session: DiskSession, target: Target) -> None:
    """Raise WrongDisk unless the LUN has the backup VD's serial number (VPD page 0x80)."""
    found = session.serial(target.lun)
    if found != target.serial:
        raise WrongDisk(lun=target.lun, node=target.node, what="serial number", found=found, expected=target.serial)


def check_disk(session: DiskSession, target: Target, size: int) -> int:
    """Return the LUN's size. Raise WrongDisk or TargetTooSmall unless it is the backup VD and holds ``size`` bytes.

    The serial number is the target's own word for its VD (VPD page 0x80): nothing may be written before it is right.
    """
    check_serial(session, target)
    capacity = session.capacity(target.lun).size
    if capacity < size:
        raise TargetTooSmall(node=target.node, lun=target.lun, needed=size, found=capacity)
    return capacity
