"""A source, and a disk of another maker that a real tgtd shows: no peer conversation, no recovery points."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Session
from qreplica.replication import cycle, jobs
from qreplica.replication.attempt import Parts
from qreplica.replication.links import Target, Way
from qreplica.replication.plain_links import JobLinks, log_in
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Settings
from qreplica.state.models import Job, JobState
from qreplica.state.plain_models import PlainTarget
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

from ...iscsi.initiator.conftest import Tgtd  # noqa: TID252 - a tgtd that is nobody's
from ...ports import free_port  # noqa: TID252
from ..pair import SETTINGS, SIZE, Pair, Steps, Stop  # noqa: TID252

IQN = "iqn.2024-05.com.example:foreign"
HOST = "iqn.2024-05.com.example:host"
#: By which tgtd's own identity for LUN 1 of target 1 begins; the NAA of 16 bytes wins over that of 8.
DISK_SIZE = 4 * MIB
NAA = "naa.60000000000000000e00000000010001"
#: Every block is a command and every command a checkpoint.
SMALL_STEPS = replace(SETTINGS, checkpoint_bytes=BLOCK)


class Stuck(Stop):
    """Stops a worker after it has been asked so often."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0 or super().is_set()


@dataclass
class World:
    pair: Pair
    tgtd: Tgtd
    file: Path
    peer_port: int = field(default_factory=free_port)
    connect: Callable[[Target, Way], Session] = log_in

    def show(self, file: Path, *, tid: int = 1, iqn: str = IQN, params: str = "", block: int = 512) -> None:
        """Have tgtd show a file as LUN 1 of a node."""
        self.tgtd.admin("--mode", "target", "--op", "new", "--tid", str(tid), "-T", iqn)
        self.tgtd.admin("--mode", "target", "--op", "bind", "--tid", str(tid), "-I", "ALL")
        where = ["--mode", "logicalunit", "--tid", str(tid), "--lun", "1"]
        self.tgtd.admin(*where, "--op", "new", "-b", str(file), "--blocksize", str(block))
        if params:
            self.tgtd.admin(*where, "--op", "update", "--params", params)

    def hide(self) -> None:
        """Take the node away, whoever is logged in."""
        self.tgtd.admin("--mode", "target", "--op", "delete", "--tid", "1", "--force")

    def create(self, **changes: Any) -> Job:
        facts: dict[str, Any] = {
            "name": "daily",
            "source_vd": "s1",
            "address": "127.0.0.1",
            "node": IQN,
            "lun": 1,
            "port": self.tgtd.port,
            "peer_port": self.peer_port,
        }
        return jobs.create_plain(self.pair.database, self.pair.storage, **{**facts, **changes})

    def host(self, name: str = HOST) -> Session:
        """Log in as somebody else."""
        session = Session.connect(self.tgtd.portal, IQN, name)
        session.capacity(1)
        return session

    def start(self) -> None:
        jobs.start(self.pair.database, "daily")

    def store(self, controller: int = 1) -> JobStore:
        """Become the owner of the job on a controller."""
        with self.pair.database.session() as session:
            job = session.get_one(Job, self.job().id)
            job.epoch += 1
            return JobStore(self.pair.database, job.id, job.epoch, controller)

    def parts(self, controller: int, settings: Settings, database: Any = None) -> Parts:
        parts = self.pair.parts(Steps(), settings)
        links = JobLinks(database or self.pair.database, controller, self.connect)
        return Parts(parts.storage, parts.snapshots, links, parts.tell, settings)

    def work(self, controller: int = 1, stop: Stop | None = None, settings: Settings = SMALL_STEPS) -> Job:
        """Run a worker on a controller until it ends by itself; return the job then."""
        store = self.store(controller)
        cycle.run(self.pair.database, self.parts(controller, settings), store, stop or Stop())
        return self.job()

    def replicate(self, controller: int = 1) -> None:
        """Run a cycle, which succeeds and leaves the disk equal."""
        self.start()
        job = self.work(controller)
        assert (job.state, job.error) == (JobState.IDLE, None), (job.state, job.error, self.pair.events)
        self.check()

    def fails(self, error: type[QReplicaError], controller: int = 1) -> str:
        """Run a cycle, which fails by that error; return its sentence."""
        before = self.content()
        job = self.work(controller)
        assert (job.state, job.error_kind) == (JobState.FAILED, error.kind), job.error
        assert self.content() == before
        assert job.error is not None
        return job.error

    def job(self) -> Job:
        with self.pair.database.session(read_only=True) as session:
            return jobs.get(session, "daily")

    def row(self) -> PlainTarget:
        with self.pair.database.session(read_only=True) as session:
            return session.get_one(PlainTarget, self.job().id)

    def content(self) -> bytes:
        return self.file.read_bytes()

    def check(self) -> None:
        """The disk begins with the source's snapshot of its newest generation, byte for byte."""
        base = self.job().base_snapshot_id
        assert base is not None
        assert self.content()[:SIZE] == self.pair.frozen[base]
