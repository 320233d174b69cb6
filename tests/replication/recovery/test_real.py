"""The target's side over btrfs on a loop device and a tgtd, with a real initiator."""

import contextlib
import hashlib
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from qreplica.iscsi import nodes
from qreplica.iscsi.errors import LoginRefused, PortalUnreachable, SessionLost
from qreplica.iscsi.initiator import Buffer, Portal, Session
from qreplica.iscsi.target.driver import PortalSpec
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.peer import messages
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_errors import NotServed, StaleEpoch
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.models import Lun, Node, RaidGroup, RecoveryPoint, Subsystem, VdType, VirtualDisk
from qreplica.state.types import Secret
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, KIB, MIB

from ...ports import control_port, free_port  # noqa: TID252
from .world import GROUP, IQN, JOB, VD, begin_message, claim_message, commit_message, digest

pytestmark = pytest.mark.root
SIZE = 32 * MIB
CHUNK = 64 * KIB


@dataclass
class Real:
    """A target subsystem with one controller."""

    database: Database
    storage: BtrfsDriver
    process: TargetProcess
    target: TgtDriver
    recovery: Recovery
    address: PortalSpec

    def connect(self, initiator: str) -> Session:
        return Session.connect(Portal(self.address.address, self.address.port), IQN, initiator)

    def claim(self, epoch: int) -> messages.Lineage:
        return self.recovery.claim(IQN, claim_message(epoch, source_size=SIZE))

    def begin(self, epoch: int, generation: int, base: int | None) -> bool:
        return self.recovery.begin(IQN, begin_message(epoch, generation, base, size=SIZE)).resumed

    def write(self, initiator: str, offset: int, data: bytes) -> None:
        with self.connect(initiator) as session:
            session.write(1, offset, data)
            session.flush(1)

    def live(self) -> bytes:
        return self.storage.vd_path(GROUP, VD).read_bytes()

    def point(self, generation: int) -> bytes:
        with self.database.session(read_only=True) as session:
            wanted = select(RecoveryPoint.snapshot_id).where(RecoveryPoint.generation == generation)
            return self.storage.snapshot_path(GROUP, VD, session.scalars(wanted).one()).read_bytes()


class Hammer(threading.Thread):
    """Keeps 16 writes of ever new data in flight until the session is lost."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.busy = threading.Event()
        self._session = session
        self._buffers = [Buffer(CHUNK) for _ in range(16)]
        self._tags = iter(range(2**62))
        self._owner: dict[int, Buffer] = {}

    def run(self) -> None:
        with contextlib.suppress(SessionLost):
            for buffer in self._buffers:
                self._send(buffer)
            completed = 0
            while True:
                for completion in self._session.poll(1.0):
                    buffer = self._owner.pop(completion.tag)
                    if completion.error is not None:
                        return
                    completed += 1
                    if completed == 64:
                        self.busy.set()
                    self._send(buffer)

    def _send(self, buffer: Buffer) -> None:
        buffer.view[:] = secrets.token_bytes(KIB) * (CHUNK // KIB)
        tag = next(self._tags)
        self._owner[tag] = buffer
        self._session.submit_write(tag, 1, secrets.randbelow(SIZE // CHUNK) * CHUNK, buffer, CHUNK)


def _loop(image: Path, stack: ExitStack) -> Path:
    with image.open("xb") as file:
        file.truncate(GIB)
    command = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", device], check=True)
    return Path(device)


def _database(file: Path) -> Database:
    Secret.unlock(Fernet.generate_key())
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    with database.session() as session:
        session.add(Subsystem(name="target", iqn_prefix="iqn.2026-11.org.qreplica"))
        session.add(RaidGroup(id=GROUP, name="rg1", level=RaidLevel.JBOD, usable=GIB, reserve=0))
        session.flush()
        session.add(
            VirtualDisk(
                id=VD,
                name="b1",
                type=VdType.BACKUP,
                size=SIZE,
                snapshot_space=8 * SIZE,
                raid_group_id=GROUP,
                serial="0123456789abcdef",
            )
        )
        session.add(Node(id="c" * 32, name="backup-1", iqn=IQN, tid=77, open_to_all=False))
        session.flush()
        session.add(Lun(node_id="c" * 32, number=1, vd_id=VD))
    return database


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    with ExitStack() as stack:
        device = _loop(tmp_path / "disk", stack)
        storage = BtrfsDriver(tmp_path / "rg")
        storage.create_group(GROUP, [device], RaidLevel.JBOD)
        stack.callback(storage.close_group, GROUP)
        storage.create_vd(GROUP, VD, SIZE)
        database = _database(tmp_path / "state.db")
        stack.callback(database.dispose)
        # Apart from the control ports of the target driver's own tests.
        management = Management(control_port())
        process = TargetProcess(management, tmp_path / "tgtd.pid", lambda _: None)
        process.start()
        stack.callback(process.kill)
        target = TgtDriver(management)
        serving = Serving(
            database, storage, {1: target}, lambda session, node: nodes.spec(session, storage, node), NodeLocks()
        )
        recovery = Recovery(database, storage, serving)
        address = PortalSpec("127.0.0.1", free_port())
        target.set_portals(frozenset({address}))
        yield Real(database, storage, process, target, recovery, address)


def test_a_claim_ends_an_old_owner_in_the_middle_of_its_writes(real: Real) -> None:
    old = real.claim(1)
    assert not real.begin(1, 1, None)
    session = real.connect(old.initiator)
    hammer = Hammer(session)
    hammer.start()
    assert hammer.busy.wait(30)

    new = real.claim(2)
    when_answered = hashlib.sha256(real.live()).digest()
    hammer.join(30)
    assert not hammer.is_alive()
    session.logout()
    with pytest.raises(LoginRefused):
        real.connect(old.initiator)
    # Long enough for whatever the kernel or tgtd might still hold.
    time.sleep(1)
    assert hashlib.sha256(real.live()).digest() == when_answered
    assert real.target.sessions(IQN) == []
    with pytest.raises(StaleEpoch):
        real.recovery.commit(IQN, commit_message(1, 1))

    assert real.begin(2, 1, None)
    content = secrets.token_bytes(SIZE)
    with real.connect(new.initiator) as session:
        for offset in range(0, SIZE, MIB):
            session.write(1, offset, content[offset : offset + MIB])
        session.flush(1)
    real.recovery.commit(IQN, commit_message(2, 1))
    assert real.point(1) == content


def test_a_generation_given_up_is_rolled_back_under_the_target(real: Real) -> None:
    first = real.claim(1)
    real.begin(1, 1, None)
    real.write(first.initiator, 0, b"a" * MIB)
    real.recovery.commit(IQN, commit_message(1, 1))
    base = b"a" * MIB + bytes(SIZE - MIB)

    second = real.claim(2)
    real.begin(2, 2, 1)
    real.write(second.initiator, 0, b"b" * (2 * MIB))
    # Still logged on while the target rolls back: the session must not go on with the old file.
    with real.connect(second.initiator) as session:
        session.write(1, 4 * MIB, b"b" * MIB)
        assert not real.begin(2, 3, 1)
        assert real.live() == base
        with pytest.raises(SessionLost):
            session.write(1, 0, b"b" * MIB)
    assert real.live() == base

    real.write(second.initiator, 8 * MIB, b"c" * MIB)
    real.recovery.commit(IQN, commit_message(2, 3))
    assert real.point(1) == base
    assert real.point(3) == base[: 8 * MIB] + b"c" * MIB + base[9 * MIB :]

    real.begin(2, 4, 3)
    real.write(second.initiator, 0, b"d" * MIB)
    real.recovery.release(IQN, messages.Release(job=JOB, epoch=2))
    assert real.live() == real.point(3)
    with pytest.raises(LoginRefused):
        real.connect(second.initiator)


def test_what_the_target_daemon_acknowledged_is_told_before_it_is_flushed(real: Real) -> None:
    """Data that has no place on the disk yet, zeros that were holes' neighbours, and a hole that was data."""
    owner = real.claim(1)
    real.begin(1, 1, None)
    content = bytearray(SIZE)
    with real.connect(owner.initiator) as session:
        content[MIB : 2 * MIB] = secrets.token_bytes(MIB)
        session.write(1, MIB, bytes(content[MIB : 2 * MIB]))
        session.flush(1)
        session.write_zeros(1, MIB + CHUNK, CHUNK)
        content[MIB + CHUNK : MIB + 2 * CHUNK] = bytes(CHUNK)
        for at, length in ((0, 4 * KIB), (5 * MIB + 8 * KIB, 4 * KIB), (20 * MIB, MIB), (SIZE - 4 * KIB, 4 * KIB)):
            content[at : at + length] = secrets.token_bytes(length)
            session.write(1, at, bytes(content[at : at + length]))
        told = _compared(real)
    zeros = hashlib.sha256(bytes(CHUNK)).hexdigest()
    for at in range(0, SIZE, CHUNK):
        assert told.get(at, zeros) == hashlib.sha256(content[at : at + CHUNK]).hexdigest(), at
    # Holes are told as such.
    assert len(told) <= 2 * MIB // CHUNK + 3
    assert bytes(content) == real.live()


def _compared(real: Real) -> dict[int, str | None]:
    found: dict[int, str | None] = {}
    at = 0
    while at < SIZE:
        message = messages.Compare(job=JOB, epoch=1, generation=1, manifest=digest(1), offset=at, end=SIZE, chunk=CHUNK)
        answer = real.recovery.compare(IQN, message)
        found.update(answer.digests)
        at = answer.end
    return found


def test_a_tgtd_that_died_serves_nobody_before_the_next_claim(real: Real) -> None:
    first = real.claim(1)
    real.begin(1, 1, None)
    real.write(first.initiator, 0, b"a" * MIB)
    real.process.kill()
    real.process.start()
    real.target.set_portals(frozenset({real.address}))
    # A tgtd without any node resets the connection.
    with pytest.raises((LoginRefused, PortalUnreachable)):
        real.connect(first.initiator)
    with pytest.raises(NotServed):
        real.begin(1, 1, None)
    second = real.claim(2)
    assert real.begin(2, 1, None)
    real.write(second.initiator, MIB, b"b" * MIB)
    real.recovery.commit(IQN, commit_message(2, 1))
    assert real.point(1) == b"a" * MIB + b"b" * MIB + bytes(SIZE - 2 * MIB)
