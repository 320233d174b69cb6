"""A target subsystem over memory drivers, with one backup VD on one node, that can be made to die at any step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import messages
from qreplica.replication.promotion import Promoter
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.models import (
    Node,
    RecoveryPoint,
)
from qreplica.storage.driver import BLOCK, StorageDriver

IQN = "iqn.2026-11.org.qreplica:backup-1"
GROUP, VD = "a" * 32, "b" * 32
JOB, OTHER_JOB = "1" * 32, "2" * 32
SOURCE = "5" * 32
BLOCKS = 8
SIZE = BLOCKS * BLOCK


class Crash(BaseException):
    """The daemon dies here. Not an Exception, so that nothing handles it."""


class Steps:
    """Counts what changes state outside the process, and dies before the step of number ``fatal``."""

    def __init__(self) -> None:
        self.taken = 0
        self.fatal: int | None = None
        self.dead = False
        self.names: list[str] = []

    def take(self, name: str) -> None:
        """Die, or go on; one who is dead does nothing more, not even in a ``finally``."""
        if self.dead or self.taken == self.fatal:
            self.dead = True
            raise Crash
        self.taken += 1
        self.names.append(name)

    def revive(self) -> None:
        self.dead = False
        self.fatal = None


class Stepping:
    """Stands before a driver or database and takes a step at each of the named methods."""

    def __init__(self, real: Any, steps: Steps, names: set[str]) -> None:
        self._real = real
        self._steps = steps
        self._names = names

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        if name not in self._names:
            return attribute

        def stepping(*arguments: Any, **named: Any) -> Any:
            self._steps.take(name)
            return attribute(*arguments, **named)

        return stepping


class Beside:
    """Another controller's target daemon, as ``OtherController`` stands for it.

    The node is ended there; ``serve`` is what that one's own daemon does thereupon, if it does not hang.
    """

    def __init__(self, target: MemoryTargetDriver, database: Database, serve: Callable[[], None]) -> None:
        self._target = target
        self._database = database
        self._serve = serve

    def fence_node(self, spec: NodeSpec, timeout: float) -> None:  # noqa: ARG002 - TargetController's
        self.remove_node(spec.iqn)

    def remove_node(self, iqn: str) -> None:
        self._target.remove_node(iqn)
        self._serve()

    def apply_node(self, spec: NodeSpec) -> None:
        self.remove_node(spec.iqn)

    def nodes(self) -> dict[str, int]:
        with self._database.session(read_only=True) as session:
            return {node.iqn: node.tid for node in session.scalars(select(Node))}


class SteppingDatabase:
    """A database whose every commit is a step."""

    def __init__(self, real: Database, steps: Steps) -> None:
        self._real = real
        self._steps = steps

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        with self._real.session(read_only=read_only) as session:
            yield session
            if not read_only:
                session.flush()
                self._steps.take("commit")


def spec_of(storage: StorageDriver) -> Callable[[Session, Node], NodeSpec]:
    """Return how a node is to be served."""
    return lambda session, node: nodes.spec(session, storage, node)


@dataclass
class World:
    """The target subsystem; ``restart`` gives it a new daemon, and a new tgtd if that died too."""

    database: Database
    storage: StorageDriver
    target: MemoryTargetDriver = field(default_factory=MemoryTargetDriver)
    steps: Steps = field(default_factory=Steps)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, *, new_tgtd: bool = False) -> None:
        self.steps.revive()
        if new_tgtd:
            self.target = MemoryTargetDriver()
        storage: Any = Stepping(self.storage, self.steps, {"roll_back", "take_snapshot", "delete_snapshot", "flush"})
        target: Any = Stepping(self.target, self.steps, {"fence_node", "remove_node", "apply_node"})
        database: Any = SteppingDatabase(self.database, self.steps)
        self.serving = Serving(database, storage, {1: target}, spec_of(self.storage), NodeLocks())
        self.recovery = Recovery(database, storage, self.serving)
        self.promoter = Promoter(database, self.serving)
        self.reconcile()

    def reconcile(self) -> None:
        with self.database.session() as session:
            for node in session.scalars(select(Node)):
                self.target.apply_node(spec_of(self.storage)(session, node))

    def claim(self, epoch: int, job: str = JOB, **changes: Any) -> messages.Lineage:
        return self.recovery.claim(IQN, claim_message(epoch, job, **changes))

    def initiators(self) -> frozenset[str] | None:
        return self.target.specs[IQN].initiators

    def live(self) -> Path:
        return self.storage.vd_path(GROUP, VD)

    def points(self) -> dict[int, bytes]:
        """Return what the recovery points hold, by generation."""
        with self.database.session(read_only=True) as session:
            return {
                point.generation: self.storage.snapshot_path(GROUP, VD, point.snapshot_id).read_bytes()
                for point in session.scalars(select(RecoveryPoint))
            }

    def write(self, initiator: str, offset: int, data: bytes) -> None:
        """Write as the initiator would, which must be admitted."""
        session = self.target.log_in(IQN, initiator)
        assert session is not None, f"{initiator} is not admitted"
        with self.target.specs[IQN].luns[0].path.open("r+b") as disk:
            disk.seek(offset)
            disk.write(data)


def claim_message(epoch: int, job: str = JOB, **changes: Any) -> messages.Claim:
    facts: dict[str, Any] = {
        "job": job,
        "job_name": "nightly",
        "source_subsystem": SOURCE,
        "source_subsystem_name": "source",
        "lun": 1,
        "vd": VD,
        "source_size": SIZE,
        "epoch": epoch,
    }
    return messages.Claim(**{**facts, **changes})


def digest(generation: int) -> str:
    return f"{generation:064x}"


def source_snapshot(generation: int) -> str:
    return f"{generation:032x}"


def begin_message(epoch: int, generation: int, base: int | None, job: str = JOB, **changes: Any) -> messages.Begin:
    facts: dict[str, Any] = {
        "job": job,
        "epoch": epoch,
        "generation": generation,
        "base_generation": base,
        "base_snapshot": None if base is None else source_snapshot(base),
        "source_snapshot": source_snapshot(generation),
        "size": SIZE,
        "manifest": digest(generation),
    }
    return messages.Begin(**{**facts, **changes})


def commit_message(epoch: int, generation: int, job: str = JOB, **changes: Any) -> messages.Commit:
    facts: dict[str, Any] = {"job": job, "epoch": epoch, "generation": generation, "manifest": digest(generation)}
    return messages.Commit(**{**facts, **changes})
