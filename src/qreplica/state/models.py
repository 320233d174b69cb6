"""The tables. Sizes in bytes, times in UTC, ids 32 hexadecimal digits unless said otherwise."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from qreplica.license.serial import new_serial
from qreplica.state.types import Secret, UtcTime, enum_of
from qreplica.storage.driver import RaidLevel


def new_id() -> str:
    """Return a fresh random id."""
    return uuid.uuid4().hex


def now() -> datetime:
    """Return the present time, aware, UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {int: BigInteger().with_variant(Integer, "sqlite"), datetime: UtcTime}


class VdType(StrEnum):
    """RAID: hosts use it. BACKUP: a replication job writes it."""

    RAID = "RAID"
    BACKUP = "BACKUP"


class SnapshotKind(StrEnum):
    """MANUAL: taken by the administrator. AUTOMATIC: by the VD's own schedule, and let go of by its retention.

    REPLICATION: carried by a cycle. RECOVERY_POINT: committed on a backup VD.
    """

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    REPLICATION = "replication"
    RECOVERY_POINT = "recovery-point"


class ScrubOutcome(StrEnum):
    """How a scrub ended: CLEAN (whatever was wrong is mended), DAMAGED (not all could be), INTERRUPTED, FAILED."""

    CLEAN = "clean"
    DAMAGED = "damaged"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class JobState(StrEnum):
    """What a job is doing. STOPPED and FAILED keep the checkpoint; ``start`` leads out of every one of them.

    QUEUED: it is to run, and does as soon as its turn comes; nothing works on it until then. SUPERSEDED: its copy was
    promoted, so that hosts use that.
    """

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    WAITING = "waiting"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Step(StrEnum):
    """The steps of a cycle, each persisted before its work begins."""

    SNAPSHOT = "snapshot"
    DELTA = "delta"
    TRANSFER = "transfer"
    FLUSH = "flush"
    COMMIT = "commit"
    DONE = "done"


class CycleKind(StrEnum):
    """What a cycle sends."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Outcome(StrEnum):
    """How a cycle ended."""

    COMMITTED = "committed"
    ABANDONED = "abandoned"


class PathState(StrEnum):
    """ACTIVE: it carries a cycle's data. STANDBY: it may be used. FAILED: it did not work when it was last used."""

    ACTIVE = "active"
    STANDBY = "standby"
    FAILED = "failed"


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Subsystem(Base):
    """This subsystem; one row. ``iqn_prefix`` begins the name of every node; licenses are bound to ``serial``."""

    __tablename__ = "subsystem"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    serial: Mapped[str] = mapped_column(default=new_serial)
    name: Mapped[str]
    iqn_prefix: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Controller(Base):
    """A controller (1 or 2). ``heartbeat`` counts up while its daemon lives; its change is what proves life.

    ``heartbeat_at`` is None for one that was ended in an orderly way, and for one that never started. ``management``
    is the URL at which it was reached last, None when only it knows. ``certificate`` (PEM) is what it shows, with its
    ``fingerprint`` and where it is from (``access.certificates.Source``), all None without TLS; of its end was told
    last so many days before (``certificate_told``; 0: that it has ended). ``license_id`` is the license that its daemon
    began with. The restarts count up: ``asked`` for, ``begun`` (a start serves all that were asked for by then), and
    ``done`` when it was ready again; each catches up with the one before.
    """

    __tablename__ = "controllers"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started_at: Mapped[datetime | None]
    heartbeat: Mapped[int] = mapped_column(default=0)
    heartbeat_at: Mapped[datetime | None]
    version: Mapped[str] = mapped_column(default="")
    management: Mapped[str | None]
    fingerprint: Mapped[str | None]
    certificate: Mapped[str | None]
    certificate_source: Mapped[str | None]
    certificate_told: Mapped[int | None]
    license_id: Mapped[str | None]
    restarts_asked: Mapped[int] = mapped_column(default=0)
    restarts_begun: Mapped[int] = mapped_column(default=0)
    restarts_done: Mapped[int] = mapped_column(default=0)
    ports: Mapped[list["Port"]] = relationship(order_by="Port.number", cascade="all, delete-orphan")


class LicenseKey(Base):
    """A license that was uploaded: ``document`` is its file. The one with the highest ``number`` is the subsystem's.

    ``warned``: that it will expire was told; ``expiry_told``: that it has.
    """

    __tablename__ = "licenses"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    document: Mapped[str]
    uploaded_at: Mapped[datetime] = mapped_column(default=now)
    warned: Mapped[bool] = mapped_column(default=False)
    expiry_told: Mapped[bool] = mapped_column(default=False)


class Port(Base):
    """iSCSI port 1 to 4 of a controller.

    ``qreplica``: hosts cannot log in there, and jobs' sessions leave through it. ``hosts`` are the initiators that are
    logged in by it (“NAME (ADDRESS)”), as its controller saw them last. The rest is what its controller uses since its
    last start: ``mtu`` and ``largest_mtu`` are the interface's (bytes), None where that was missing.
    """

    __tablename__ = "ports"
    controller: Mapped[int] = mapped_column(ForeignKey("controllers.number"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    interface: Mapped[str]
    address: Mapped[str]
    prefix_length: Mapped[int]
    gateway: Mapped[str | None]
    mtu: Mapped[int | None]
    largest_mtu: Mapped[int | None]
    qreplica: Mapped[bool] = mapped_column(default=False)
    hosts: Mapped[list[str]] = mapped_column(JSON, default=list)


class PortSetting(Base):
    """What an administrator has set for a port: its controller takes it from there, not from its configuration file.

    ``mtu`` (bytes) is None while that of the interface is left alone.
    """

    __tablename__ = "port_settings"
    controller: Mapped[int] = mapped_column(ForeignKey("controllers.number"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    address: Mapped[str]
    prefix_length: Mapped[int]
    gateway: Mapped[str | None]
    mtu: Mapped[int | None]


class RaidGroup(Base):
    """An RG. ``usable`` and ``reserve`` come from its disks and level (bytes). ``scrub_days`` between scrubs, or never.

    ``incomplete``: it is being made or deleted; left so by a crash, it is undone at the next start.
    """

    __tablename__ = "raid_groups"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    level: Mapped[RaidLevel] = mapped_column(enum_of(RaidLevel))
    usable: Mapped[int]
    reserve: Mapped[int]
    scrub_days: Mapped[int | None] = mapped_column(default=30)
    incomplete: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    disks: Mapped[list["Disk"]] = relationship(back_populates="raid_group", order_by="Disk.name")
    vds: Mapped[list["VirtualDisk"]] = relationship(back_populates="raid_group", order_by="VirtualDisk.name")


class Disk(Base):
    """A disk: a block device, or an image file that a loop device with direct I/O stands for (``image``).

    ``spare``: free, and taken by itself when a disk of an RG fails. ``replaces`` is the disk of the same RG in whose
    place this one is being put; that one leaves the RG when it is done. ``failed``: it was replaced because of its
    errors, or is missing. ``errors`` is the count of errors last told of.
    """

    __tablename__ = "disks"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    device: Mapped[str | None]
    image: Mapped[str | None] = mapped_column(unique=True)
    size: Mapped[int]
    raid_group_id: Mapped[str | None] = mapped_column(ForeignKey("raid_groups.id"))
    spare: Mapped[bool] = mapped_column(default=False)
    failed: Mapped[bool] = mapped_column(default=False)
    errors: Mapped[int] = mapped_column(default=0)
    replaces_id: Mapped[str | None] = mapped_column(ForeignKey("disks.id"))
    raid_group: Mapped[RaidGroup | None] = relationship(back_populates="disks")
    replaces: Mapped["Disk | None"] = relationship(remote_side="Disk.id")


class ScrubRun(Base):
    """A scrub of an RG: what it found (bytes of all copies; counts of errors) and how it ended."""

    __tablename__ = "scrubs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    raid_group_id: Mapped[str] = mapped_column(ForeignKey("raid_groups.id"), index=True)
    started_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]
    checked: Mapped[int] = mapped_column(default=0)
    corrected: Mapped[int] = mapped_column(default=0)
    uncorrectable: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[ScrubOutcome | None] = mapped_column(enum_of(ScrubOutcome))
    error: Mapped[str | None]


class MaintenanceLease(Base):
    """Which controller maintains an RG: scrubs, replaces, reclaims. ``term`` grows with each change of holder.

    ``renewals`` counts up while the holder lives; an observer judges by whether it changes, on its own clock.
    """

    __tablename__ = "maintenance_leases"
    raid_group_id: Mapped[str] = mapped_column(ForeignKey("raid_groups.id"), primary_key=True)
    controller: Mapped[int]
    term: Mapped[int] = mapped_column(default=1)
    renewals: Mapped[int] = mapped_column(default=0)
    since: Mapped[datetime] = mapped_column(default=now)


class Duty(Base):
    """Which controller does the work that belongs to controller ``owner`` (its number): runs its jobs.

    ``term`` and ``renewals`` as for a MaintenanceLease. ``asked_back``: the administrator wants it handed back.
    """

    __tablename__ = "duties"
    owner: Mapped[str] = mapped_column(primary_key=True)
    controller: Mapped[int]
    term: Mapped[int] = mapped_column(default=1)
    renewals: Mapped[int] = mapped_column(default=0)
    since: Mapped[datetime] = mapped_column(default=now)
    asked_back: Mapped[bool] = mapped_column(default=False)


class VirtualDisk(Base):
    """A VD. ``snapshot_space`` is what its QSnaps may use; ``serial`` is what initiators see (VPD page 0x80).

    ``snapshot_minutes`` between automatic QSnaps, None for none; the newest ``snapshots_kept`` of them are kept.
    ``incomplete`` as for an RG. ``write_protected`` has hosts only read it.
    """

    __tablename__ = "virtual_disks"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    type: Mapped[VdType] = mapped_column(enum_of(VdType))
    size: Mapped[int]
    snapshot_space: Mapped[int] = mapped_column(default=0)
    raid_group_id: Mapped[str] = mapped_column(ForeignKey("raid_groups.id"))
    serial: Mapped[str] = mapped_column(unique=True)
    snapshot_minutes: Mapped[int | None]
    snapshots_kept: Mapped[int] = mapped_column(default=8)
    incomplete: Mapped[bool] = mapped_column(default=False)
    write_protected: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    raid_group: Mapped[RaidGroup] = relationship(back_populates="vds")
    snapshots: Mapped[list["Snapshot"]] = relationship(back_populates="vd", order_by="Snapshot.taken_at")
    luns: Mapped[list["Lun"]] = relationship(back_populates="vd")


class Snapshot(Base):
    """A QSnap snapshot. A row without ``taken_at`` is being taken or deleted: it is not to be relied upon.

    ``attempt`` is then whose work it is, a random id: only who still finds its own there may complete it.
    """

    __tablename__ = "snapshots"
    __table_args__ = (UniqueConstraint("vd_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"))
    name: Mapped[str]
    kind: Mapped[SnapshotKind] = mapped_column(enum_of(SnapshotKind))
    size: Mapped[int]
    taken_at: Mapped[datetime | None]
    attempt: Mapped[str | None]
    vd: Mapped[VirtualDisk] = relationship(back_populates="snapshots")


class HeldBack(Base):
    """A VD that no target daemon serves just now, because it is to be rolled back, or is not whole since.

    ``snapshot_id`` is set once that is decided: whoever finds the row without anybody at work finishes it. ``told`` is
    what the event of it is to say, and None when it has been said.
    """

    __tablename__ = "held_back"
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"), primary_key=True)
    snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.id"))
    told: Mapped[str | None]
    vd: Mapped[VirtualDisk] = relationship()


class Node(Base):
    """An iSCSI node. ``tid`` is random per subsystem; ``open_to_all`` admits any initiator name (never backup VDs)."""

    __tablename__ = "nodes"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    iqn: Mapped[str] = mapped_column(unique=True)
    tid: Mapped[int] = mapped_column(unique=True)
    open_to_all: Mapped[bool] = mapped_column(default=True)
    chap_user: Mapped[str | None]
    chap_secret: Mapped[str | None] = mapped_column(Secret)
    mutual_user: Mapped[str | None]
    mutual_secret: Mapped[str | None] = mapped_column(Secret)
    pairing_secret: Mapped[str | None] = mapped_column(Secret)
    created_at: Mapped[datetime] = mapped_column(default=now)
    initiators: Mapped[list["NodeInitiator"]] = relationship(cascade="all, delete-orphan")
    luns: Mapped[list["Lun"]] = relationship(back_populates="node", order_by="Lun.number")


class NodeInitiator(Base):
    """An initiator name that a node's ACL admits."""

    __tablename__ = "node_initiators"
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    initiator: Mapped[str] = mapped_column(primary_key=True)


class Lun(Base):
    """A VD attached to a node, or, read-only, one of its snapshots."""

    __tablename__ = "luns"
    __table_args__ = (UniqueConstraint("node_id", "number"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    number: Mapped[int]
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"))
    snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.id"))
    node: Mapped[Node] = relationship(back_populates="luns")
    vd: Mapped[VirtualDisk] = relationship(back_populates="luns")
    snapshot: Mapped[Snapshot | None] = relationship()


class Job(Base):
    """A replication job, on the source.

    ``epoch`` is the last claim's fencing number; every write of the job's or its cycle's state compares it first.
    ``base_snapshot_id`` is the last generation that both sides hold. ``pairing_secret`` is what a node without CHAP
    gave at the first claim. ``controller`` is the one that the job belongs to; which one runs it says its Duty.
    ``target_*`` name the backup VD as the target told it: ids, and names for people. ``comment`` is the
    administrator's own. ``queued_as`` orders the jobs that are QUEUED, and means nothing in other states.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    source_vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"))
    target_subsystem: Mapped[str]
    target_subsystem_name: Mapped[str] = mapped_column(default="")
    target_node: Mapped[str]
    target_lun: Mapped[int]
    target_vd: Mapped[str]
    target_vd_name: Mapped[str] = mapped_column(default="")
    target_serial: Mapped[str]
    target_size: Mapped[int]
    chap_user: Mapped[str | None]
    chap_secret: Mapped[str | None] = mapped_column(Secret)
    mutual_user: Mapped[str | None]
    mutual_secret: Mapped[str | None] = mapped_column(Secret)
    pairing_secret: Mapped[str | None] = mapped_column(Secret)
    state: Mapped[JobState] = mapped_column(enum_of(JobState), default=JobState.IDLE)
    queued_as: Mapped[int] = mapped_column(default=0)
    comment: Mapped[str] = mapped_column(default="")
    controller: Mapped[int] = mapped_column(default=1)
    epoch: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=0)
    base_snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.id"))
    base_generation: Mapped[int | None]
    error_kind: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    source_vd: Mapped[VirtualDisk] = relationship()
    paths: Mapped[list["Path"]] = relationship(order_by="Path.position", cascade="all, delete-orphan")
    cycles: Mapped[list["Cycle"]] = relationship(order_by="Cycle.started_at", cascade="all, delete-orphan")


class Path(Base):
    """One way from a job to its backup VD: an address of the target. The lowest position is preferred.

    ``reason`` tells why it is FAILED; ``since`` is when it came to its state. At most one path of a job is ACTIVE.
    """

    __tablename__ = "paths"
    __table_args__ = (UniqueConstraint("job_id", "address", "port"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    position: Mapped[int]
    address: Mapped[str]
    port: Mapped[int] = mapped_column(default=3260)
    peer_port: Mapped[int] = mapped_column(default=3261)
    state: Mapped[PathState] = mapped_column(enum_of(PathState), default=PathState.STANDBY)
    reason: Mapped[str | None]
    since: Mapped[datetime] = mapped_column(default=now)


class Cycle(Base):
    """One run of a job: the generation it carries, the step it is in, and its checkpoint.

    All bytes below ``checkpoint`` (an offset of the disk) are durable on the target. ``total_bytes`` and
    ``zero_bytes`` are what the delta holds; ``sent_bytes`` what went over the wire as data, resends included;
    ``compared_bytes`` what a full copy compared by digests with what the target held.
    ``snapshot_used`` is how much snapshot space of the source VD was used after the snapshot was taken, which was at
    ``taken_at``. A cycle without ``finished_at`` is the one to go on with.
    """

    __tablename__ = "cycles"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    generation: Mapped[int]
    kind: Mapped[CycleKind | None] = mapped_column(enum_of(CycleKind))
    base_generation: Mapped[int | None]
    base_snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.id"))
    snapshot_id: Mapped[str | None] = mapped_column(ForeignKey("snapshots.id"))
    snapshot_used: Mapped[int | None]
    taken_at: Mapped[datetime | None]
    step: Mapped[Step] = mapped_column(enum_of(Step), default=Step.SNAPSHOT)
    manifest: Mapped[str | None]
    total_bytes: Mapped[int] = mapped_column(default=0)
    zero_bytes: Mapped[int] = mapped_column(default=0)
    sent_bytes: Mapped[int] = mapped_column(default=0)
    compared_bytes: Mapped[int] = mapped_column(default=0)
    done_bytes: Mapped[int] = mapped_column(default=0)
    checkpoint: Mapped[int] = mapped_column(default=0)
    resumes: Mapped[int] = mapped_column(default=0)
    rate: Mapped[float] = mapped_column(default=0.0)
    started_at: Mapped[datetime] = mapped_column(default=now)
    progressed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[Outcome | None] = mapped_column(enum_of(Outcome))
    error: Mapped[str | None]
    worker_peak_memory: Mapped[int] = mapped_column(default=0)


class Claim(Base):
    """On the target: who may write a backup VD, and what it has begun. One row per backup VD ever claimed.

    The columns from ``generation`` on are set from begin to commit: while they are, the live backup VD is half written.
    """

    __tablename__ = "claims"
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"), primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), unique=True)
    job_id: Mapped[str]
    source_subsystem: Mapped[str]
    epoch: Mapped[int]
    initiator: Mapped[str]
    claimed_at: Mapped[datetime] = mapped_column(default=now)
    generation: Mapped[int | None]
    base_generation: Mapped[int | None]
    source_snapshot: Mapped[str | None]
    size: Mapped[int | None]
    manifest: Mapped[str | None]


class RecoveryPoint(Base):
    """On the target: a committed generation of a backup VD, held by ``snapshot_id``.

    ``locked_at`` is set while it is locked: then nothing automatic lets it go. ``locked_by`` is the user who said so,
    ``lock_note`` what that one says of it.
    """

    __tablename__ = "recovery_points"
    __table_args__ = (UniqueConstraint("vd_id", "job_id", "generation"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    vd_id: Mapped[str] = mapped_column(ForeignKey("virtual_disks.id"))
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id"), unique=True)
    job_id: Mapped[str]
    generation: Mapped[int]
    base_generation: Mapped[int | None]
    source_snapshot: Mapped[str]
    size: Mapped[int]
    manifest: Mapped[str]
    committed_at: Mapped[datetime] = mapped_column(default=now)
    locked_at: Mapped[datetime | None]
    locked_by: Mapped[str | None]
    lock_note: Mapped[str] = mapped_column(default="")
    snapshot: Mapped[Snapshot] = relationship()


class PeerNonce(Base):
    """A nonce of a peer request already seen; kept as long as its time would be accepted."""

    __tablename__ = "peer_nonces"
    nonce: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]


class Event(Base):
    """An entry of the event log. ``subject`` is the object's noun and name, such as ``job nightly``."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    controller: Mapped[int | None]
    severity: Mapped[Severity] = mapped_column(enum_of(Severity))
    kind: Mapped[str]
    subject: Mapped[str]
    message: Mapped[str]
