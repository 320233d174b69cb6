"""Two subsystems over memory drivers, and a worker of the source that can be stopped at any step of a cycle.

The target is the real service with the real rules of claims; only its disk and its daemon are pretended.
"""

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.iscsi.errors import NodeUnknown
from qreplica.iscsi.target.driver import Identity, LunSpec, NodeSpec, scsi_id_for
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import listing, messages
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import cycle, jobs
from qreplica.replication.attempt import Parts
from qreplica.replication.links import Target, Way
from qreplica.replication.promotion import Promoter
from qreplica.replication.qsnaps import QSnaps
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_claims import holder_of_node
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Settings
from qreplica.state.database import Database
from qreplica.state.models import (
    Cycle,
    Job,
    JobState,
    Lun,
    Node,
    RaidGroup,
    RecoveryPoint,
    Severity,
    Subsystem,
    VdType,
    VirtualDisk,
)
from qreplica.state.models import Path as PathRow
from qreplica.storage.driver import BLOCK, RaidLevel, StorageDriver
from qreplica.storage.memory import MemoryDriver

from .fakes import AtOnce, FakeDisk, FakeSession, lost

IQN = "iqn.2026-11.org.qreplica:backup-1"
SOURCE_GROUP, SOURCE_VD = "5" * 32, "6" * 32
TARGET_GROUP, TARGET_VD = "a" * 32, "b" * 32
JOB = "1" * 32
#: Of the target's two controllers; the job's first path leads to the first.
ADDRESSES = ("192.0.2.11", "192.0.2.15")
BLOCKS = 12
SIZE = BLOCKS * BLOCK
SETTINGS = Settings(
    chunk=BLOCK, depth=3, checkpoint_bytes=3 * BLOCK, checkpoint_seconds=1e9, checkpoint_pause=0, progress_seconds=1e9
)


class Crash(BaseException):
    """The worker dies here. Not an Exception, so that nothing handles it."""


class Steps:
    """Counts what a worker does outside its own memory; at the step of number ``at`` it does ``what``, once."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.at: int | None = None
        self.what: Callable[[str], None] = lambda _: None
        self.dead = False

    def take(self, name: str) -> None:
        """Count a step. One who is dead does nothing more, not even in a ``finally``."""
        if self.dead:
            raise Crash
        self.taken.append(name)
        if len(self.taken) - 1 == self.at:
            try:
                self.what(name)
            except Crash:
                self.dead = True
                raise


class SteppingDatabase:
    """A database in which the moments before and after each commit are steps."""

    def __init__(self, real: Database, steps: Steps) -> None:
        self._real = real
        self._steps = steps

    def fenced(self, confirm: Callable[[Session], None]) -> Self:
        return type(self)(self._real.fenced(confirm), self._steps)

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        with self._real.session(read_only=read_only) as session:
            yield session
            if not read_only:
                session.flush()
                self._steps.take("commit")
        if not read_only:
            self._steps.take("committed")


class SteppingStorage:
    """A storage driver whose snapshots are steps."""

    def __init__(self, real: StorageDriver, steps: Steps, frozen: dict[str, bytes]) -> None:
        self._real = real
        self._steps = steps
        self._frozen = frozen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def take_snapshot(self, group: str, vd: str, snapshot: str) -> Any:
        self._steps.take("take_snapshot")
        info = self._real.take_snapshot(group, vd, snapshot)
        self._frozen[snapshot] = self._real.snapshot_path(group, vd, snapshot).read_bytes()
        return info

    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        self._steps.take("delete_snapshot")
        self._real.delete_snapshot(group, vd, snapshot)


class DirectPeer:
    """The peer conversation without a network: the moments before a request and after its answer are steps."""

    def __init__(self, recovery: Recovery, database: Database, steps: Steps) -> None:
        self._recovery = recovery
        self._database = database
        self._steps = steps

    def _ask(self, name: str, *arguments: Any) -> Any:
        self._steps.take(f"ask {name}")
        answer = getattr(self._recovery, name)(*arguments)
        self._steps.take(f"answer {name}")
        return answer

    def nodes(self) -> messages.NodeList:
        self._steps.take("ask nodes")
        with self._database.session(read_only=True) as session:
            return listing.nodes(session, 1)

    def backup_vds(self, iqn: str) -> messages.BackupVdList:
        self._steps.take("ask backup_vds")
        with self._database.session(read_only=True) as session:
            return listing.backup_vds(session, iqn)

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        lineage: messages.Lineage = self._ask("claim", iqn, claim)
        return lineage

    def begin(self, iqn: str, begin: messages.Begin) -> messages.Begun:
        begun: messages.Begun = self._ask("begin", iqn, begin)
        return begun

    def compare(self, iqn: str, compare: messages.Compare) -> messages.Digests:
        told: messages.Digests = self._ask("compare", iqn, compare)
        assert compare.tells(told.end, told.digests)
        return told

    def commit(self, iqn: str, commit: messages.Commit) -> messages.Committed:
        committed: messages.Committed = self._ask("commit", iqn, commit)
        return committed

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:
        lineage: messages.Lineage = self._ask("lineage", iqn, lun)
        return lineage

    def release(self, iqn: str, release: messages.Release) -> None:
        self._ask("release", iqn, release)

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class DirectLinks:
    """Ways to the pretended target."""

    pair: "Pair"
    steps: Steps

    def peer(self, target: Target, way: Way) -> DirectPeer:
        assert target.node == IQN
        assert way.address in ADDRESSES
        self.pair.gone_over.append(way.address)
        self._check_reachable(way)
        return DirectPeer(self.pair.recovery, self.pair.target_database, self.steps)

    def _check_reachable(self, way: Way) -> None:
        if way.address in self.pair.away:
            raise PeerUnreachable(address=way.address, port=way.peer_port, reason="the test says so")

    def session(self, target: Target, way: Way, initiator: str) -> FakeSession:
        assert way.port == 3260
        self.steps.take("log in")
        served = self.pair.target.specs.get(IQN)
        if served is None or self.pair.target.log_in(IQN, initiator) is None:
            raise NodeUnknown(portal="192.0.2.11", node=target.node, initiator=initiator)
        pair, steps, tid = self.pair, self.steps, served.tid

        def before(kind: str) -> None:
            steps.take(kind)
            if way.address in pair.away:
                raise lost()
            spec = pair.target.specs.get(IQN)
            if spec is None or spec.tid != tid or initiator not in (spec.initiators or ()):
                raise lost()

        session = FakeSession(self.pair.disk, self.pair.chance, before)
        self.pair.sessions.append((session, self.pair.cycles()[-1] if self.pair.cycles() else None))
        return session


class Stop(threading.Event):
    """A stop event for which nobody has to wait."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - Event's signature
        return self.is_set()


class Still:
    """Target daemons that never move."""

    def still_paused(self) -> bool:
        return True


@dataclass
class Pair:
    """Both subsystems, with a job from one to the other; all as in the folder ``template``, or not yet run."""

    folder: Path
    template: Path
    chance: random.Random = field(default_factory=lambda: random.Random(3))
    frozen: dict[str, bytes] = field(default_factory=dict)
    sessions: list[tuple[FakeSession, Cycle | None]] = field(default_factory=list)
    events: list[tuple[Severity, str, str]] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    gone_over: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("disk"))
        self.database = Database(f"sqlite:///{self.folder}/source/state.db")
        self.target_database = Database(f"sqlite:///{self.folder}/target/state.db")
        self.storage = _storage(self.folder / "source", SOURCE_GROUP, SOURCE_VD)
        self.target_storage = _storage(self.folder / "target", TARGET_GROUP, TARGET_VD)
        self.target = MemoryTargetDriver()
        self.disk = FakeDisk(self.target_storage.vd_path(TARGET_GROUP, TARGET_VD), serial="b1")
        if not self.snapshots():
            self._fill()
        for snapshot in self.snapshots():
            self.frozen[snapshot] = self.storage.snapshot_path(SOURCE_GROUP, SOURCE_VD, snapshot).read_bytes()
        forgetting = _Forgetting(self.target_storage, self.disk)
        self.serving = Serving(self.target_database, forgetting, {1: self.target}, self._spec, NodeLocks())
        self.recovery = Recovery(self.target_database, forgetting, self.serving)
        self.promoter = Promoter(self.target_database, self.serving)
        self.reconcile()

    def dispose(self) -> None:
        self.database.dispose()
        self.target_database.dispose()

    def _fill(self) -> None:
        with self.database.session() as session:
            session.add(Subsystem(id="5" * 32, name="source", iqn_prefix="iqn.2026-11.org.qreplica"))
            session.add(RaidGroup(id=SOURCE_GROUP, name="rg1", level=RaidLevel.JBOD, usable=1 << 30, reserve=0))
            session.flush()
            session.add(_vd(SOURCE_VD, "s1", VdType.RAID, SOURCE_GROUP))
            session.flush()
            job = Job(
                id=JOB,
                name="nightly",
                source_vd_id=SOURCE_VD,
                target_subsystem="7" * 32,
                target_node=IQN,
                target_lun=1,
                target_vd=TARGET_VD,
                target_serial="b1",
                target_size=SIZE,
                paths=[PathRow(position=0, address="192.0.2.11")],
            )
            session.add(job)
        with self.target_database.session() as session:
            session.add(Subsystem(id="7" * 32, name="target", iqn_prefix="iqn.2026-11.org.qreplica"))
            session.add(RaidGroup(id=TARGET_GROUP, name="rg1", level=RaidLevel.JBOD, usable=1 << 30, reserve=0))
            session.flush()
            session.add(_vd(TARGET_VD, "b1", VdType.BACKUP, TARGET_GROUP))
            node = Node(id="c" * 32, name="backup-1", iqn=IQN, tid=77, open_to_all=False)
            session.add(node)
            session.flush()
            session.add(Lun(node_id=node.id, number=1, vd_id=TARGET_VD))

    def _spec(self, session: Session, node: Node) -> NodeSpec:
        holder = holder_of_node(session, node.id)
        path = self.target_storage.vd_path(TARGET_GROUP, TARGET_VD)
        lun = LunSpec(1, path, Identity("QREPLICA", "VD", "b1", scsi_id_for("QREPLICA", "b1")))
        return NodeSpec(node.tid, node.iqn, (lun,), frozenset() if holder is None else frozenset({holder.initiator}))

    def reconcile(self) -> None:
        """Bring the target's daemon to its database."""
        with self.target_database.session() as session:
            self.target.apply_node(self._spec(session, session.scalars(select(Node)).one()))

    def reboot_target(self) -> None:
        """Power is lost: sessions, and what was not flushed, are gone. Nobody is admitted but by a new claim."""
        self.disk.lose_power(self.chance)
        with self.target_database.session() as session:
            node = session.scalars(select(Node)).one()
            self.target.remove_node(IQN)
            spec = self._spec(session, node)
            self.target.apply_node(NodeSpec(spec.tid, spec.iqn, spec.luns, frozenset()))

    # The source.

    def write(self, block: int, value: int) -> None:
        """A host writes a block of the source VD; 0 makes it zeros."""
        with self.storage.vd_path(SOURCE_GROUP, SOURCE_VD).open("r+b") as live:
            live.seek(block * BLOCK)
            live.write(bytes([value]) * BLOCK)

    def second_path(self) -> None:
        """Give the job a path to the target's other controller."""
        with self.database.session() as session:
            session.add(PathRow(job_id=JOB, position=1, address=ADDRESSES[1]))

    def paths(self) -> list[PathRow]:
        with self.database.session(read_only=True) as session:
            return list(session.scalars(select(PathRow).order_by(PathRow.position)))

    def parts(
        self, steps: Steps, settings: Settings = SETTINGS, confirm: Callable[[Session], None] = lambda _: None
    ) -> Parts:
        storage: Any = SteppingStorage(self.storage, steps, self.frozen)
        database: Any = SteppingDatabase(self.database, steps)
        snapshots = QSnaps(database, storage, lambda: nullcontext(Still()), confirm)
        links = DirectLinks(self, steps)
        return Parts(storage, snapshots, links, self._tell, settings, threads=AtOnce, chunk=BLOCK)

    def _tell(self, severity: Severity, kind: str, sentence: str) -> None:
        self.events.append((severity, kind, sentence))

    def work(self, steps: Steps | None = None, stop: Stop | None = None) -> bool:
        """Run a worker until it ends by itself; return False when it found nothing to do."""
        steps = steps or Steps()
        database: Any = SteppingDatabase(self.database, steps)
        store = JobStore.take_over(database, JOB, 1)
        if store is None:
            return False
        cycle.run(database, self.parts(steps, confirm=store.confirm), store, stop or Stop())
        return True

    def job(self) -> Job:
        with self.database.session(read_only=True) as session:
            return session.get_one(Job, JOB)

    def cycle_row(self) -> Cycle:
        """Return the latest cycle."""
        return self.cycles()[-1]

    def cycles(self) -> list[Cycle]:
        with self.database.session(read_only=True) as session:
            return list(session.scalars(select(Cycle).order_by(Cycle.generation)))

    def snapshots(self) -> set[str]:
        return {one.snapshot for one in self.storage.list_snapshots(SOURCE_GROUP, SOURCE_VD)}

    # The target.

    def points(self) -> list[RecoveryPoint]:
        with self.target_database.session(read_only=True) as session:
            return list(session.scalars(select(RecoveryPoint).order_by(RecoveryPoint.generation)))

    def point_bytes(self, point: RecoveryPoint) -> bytes:
        path = self.target_storage.snapshot_path(TARGET_GROUP, TARGET_VD, point.snapshot_id)
        return path.read_bytes()[: point.size]

    def check_points(self) -> None:
        """Rule 1: every recovery point is, byte for byte, the source's snapshot of its generation."""
        for point in self.points():
            assert self.point_bytes(point) == self.frozen[point.source_snapshot], f"generation {point.generation}"


class _Forgetting:
    """The target's storage: a roll-back replaces the file, and what was cached for the old one goes with it.

    Who reads the live VD on the target sees what is cached.
    """

    def __init__(self, real: StorageDriver, disk: FakeDisk) -> None:
        self._real = real
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def roll_back(self, group: str, vd: str, snapshot: str, confirm: Callable[[], object]) -> None:
        self._real.roll_back(group, vd, snapshot, confirm)
        self._disk.cache.clear()

    def vd_path(self, group: str, vd: str) -> Path:
        live = self._real.vd_path(group, vd)
        if not self._disk.cache:
            return live
        content, seen = self._disk.content(), live.with_name("seen")
        with seen.open("wb") as file:
            file.truncate(len(content))
            for offset in range(0, len(content), BLOCK):
                if any(block := content[offset : offset + BLOCK]):
                    os.pwrite(file.fileno(), block, offset)
        return seen


def _storage(folder: Path, group: str, vd: str) -> MemoryDriver:
    storage = MemoryDriver(folder / "rg")
    storage.create_group(group, [_image(folder)], RaidLevel.JBOD)
    storage.create_vd(group, vd, SIZE)
    return storage


def _image(folder: Path) -> Path:
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(1 << 30)
    return image


def _vd(vd: str, name: str, type_: VdType, group: str) -> VirtualDisk:
    return VirtualDisk(
        id=vd, name=name, type=type_, size=SIZE, snapshot_space=1 << 26, raid_group_id=group, serial=name
    )


def fill(pair: Pair, seed: int = 1) -> None:
    for block in range(BLOCKS):
        pair.write(block, (seed + 7 * block) % 251 + 1)


def first_copy(pair: Pair) -> None:
    fill(pair)
    jobs.start(pair.database, "nightly")
    assert pair.work()
    assert pair.job().state is JobState.IDLE
