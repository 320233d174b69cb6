"""A sold-out RG takes what hosts write to it, over a real engine; what overflows is let go of, and told."""

import contextlib
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete, select

from qreplica.state.database import Database
from qreplica.state.models import Event, Job, RaidGroup, SnapshotKind, VirtualDisk
from qreplica.state.types import Secret
from qreplica.storage import disks, making_room, raid_groups, snapshots, space_keeping, virtual_disks
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK, RaidLevel, Reclaimed
from qreplica.storage.service_errors import NoSnapshotSpace
from qreplica.storage.space_keeping import SpaceKeeping
from qreplica.storage.space_pressure import Limits, Pressure
from qreplica.units import KIB, MIB

from ..failing_disks import eventually, forget  # noqa: TID252 - the storage tests' own

pytestmark = pytest.mark.root


class Counting(BtrfsDriver):
    """Counts what is given back."""

    given_back = 0

    def reclaim(
        self, group: str, vd: str, *, start: int, budget: int, room: int, worth: float, seconds: float
    ) -> Reclaimed:
        done = super().reclaim(group, vd, start=start, budget=budget, room=room, worth=worth, seconds=seconds)
        self.given_back += done.freed
        return done


class Subsystem:
    """An RG of two disks, and hosts that write its VDs and can be made to wait."""

    def __init__(self, place: Path, database: Database, size: int) -> None:
        self.database = database
        self.driver = Counting(place / "mounts")
        for number in (1, 2):
            disks.add(database, name=f"d{number}", image=str(place / f"space-{number}.img"), size=size)
        self.group = raid_groups.create(
            database, self.driver, name="sold-out", level=RaidLevel.RAID1, disks=["d1", "d2"]
        )
        self.limits = Limits.of(self.group.usable - self.group.reserve)
        self._hosts = threading.Lock()
        self.held = 0

    @property
    def free(self) -> int:
        with self.database.session(read_only=True) as session:
            return raid_groups.space(session, session.get_one(RaidGroup, self.group.id)).free

    @contextmanager
    def pause(self) -> Iterator["Subsystem"]:
        with self._hosts:
            yield self

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self.pause():
            self.held += 1
            yield

    def keeping(self) -> SpaceKeeping:
        return SpaceKeeping(self.database, self.driver, self.group.id, self.hold)

    def still_paused(self) -> bool:
        return True

    def vd(self, name: str, size: int, snapshot_space: int = 0) -> VirtualDisk:
        virtual_disks.create(self.database, self.driver, name=name, raid_group="sold-out", size=size)
        return virtual_disks.set_snapshot_space(self.database, self.driver, name, snapshot_space)

    @contextmanager
    def host(self, vd: VirtualDisk) -> Iterator["Host"]:
        fd = os.open(self.driver.vd_path(self.group.id, vd.id), os.O_RDWR)
        try:
            yield Host(fd, vd.size, self._hosts)
        finally:
            os.close(fd)

    def take(self, vd: VirtualDisk, name: str) -> None:
        snapshots.take(self.database, self.driver, self.pause, vd_id=vd.id, name=name, kind=SnapshotKind.MANUAL)

    def snapshots(self, vd: str) -> list[str]:
        with self.database.session(read_only=True) as session:
            return [one.name for one in snapshots.listing(session, vd)]

    def events(self, kind: str) -> list[str]:
        with self.database.session(read_only=True) as session:
            return list(session.scalars(select(Event.message).where(Event.kind == kind)))

    def close(self) -> None:
        with self.database.session() as session:
            session.execute(delete(Job))
        with self.database.session(read_only=True) as session:
            vds = [vd.name for vd in virtual_disks.listing(session)]
        for vd in vds:
            virtual_disks.delete(self.database, self.driver, vd)
        raid_groups.delete(self.database, self.driver, "sold-out")
        for number in (1, 2):
            disks.remove(self.database, f"d{number}")


class Host:
    """Writes a VD, and remembers what."""

    def __init__(self, fd: int, size: int, may_write: threading.Lock) -> None:
        self._fd = fd
        self._size = size
        self._may_write = may_write
        self._chance = random.Random(size)
        # Data of its own for each write, and cheaper than to make it: a piece of this from anywhere.
        self._pool = memoryview(self._chance.randbytes(4 * MIB))
        self.model = bytearray(size)

    def write(self, offset: int, length: int) -> None:
        at = self._chance.randrange(len(self._pool) - length)
        data = self._pool[at : at + length]
        with self._may_write:
            pass
        assert os.pwrite(self._fd, data, offset) == length
        self.model[offset : offset + length] = data

    def flush(self) -> None:
        os.fsync(self._fd)

    def in_order(self, until: int | None = None) -> None:
        until = until or self._size
        for offset in range(0, until, 256 * KIB):
            self.write(offset, min(256 * KIB, until - offset))

    def at_random(self) -> None:
        cells = list(range(0, self._size, 32 * KIB))
        self._chance.shuffle(cells)
        for cell in cells:
            length = min(self._chance.randrange(1, 9) * BLOCK, self._size - cell)
            self.write(cell, length)


@pytest.fixture
def subsystem(place: Path, tmp_path: Path, empty_state: Path) -> Iterator[Subsystem]:
    Secret.unlock(Fernet.generate_key())
    shutil.copy(empty_state, tmp_path / "state.db")
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    made = Subsystem(place, database, 640 * MIB)
    yield made
    made.close()
    database.dispose()


@contextmanager
def kept(subsystem: Subsystem) -> Iterator[list[int]]:
    """Keep the RG as a daemon does; gives what its data held at most."""
    keeping = subsystem.keeping()
    ending, peak = threading.Event(), [0]
    failures: list[BaseException] = []

    def watch() -> None:
        near, tidied = False, 0.0
        try:
            while not ending.wait(0.02 if near else 0.1):
                # Hosts have to wait at least once, before the background begins to see to it that they need not.
                if subsystem.held and time.monotonic() - tidied >= 1.0:
                    tidied = time.monotonic()
                    keeping.tidy()
                near = keeping.look()
                peak[0] = max(peak[0], subsystem.driver.data_use(subsystem.group.id).held)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ending.set()
        thread.join()
        keeping.close()
    assert not failures


def test_every_write_is_taken_while_snapshots_come_and_go(
    subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For how long hosts may wait is another test's: a machine that hardly gets on must not fail this one.
    monkeypatch.setattr(space_keeping, "_LONGEST_HOLD", 30.0)
    size = subsystem.free // 3 // MIB * MIB
    one = subsystem.vd("one", size)
    other = subsystem.vd("other", size, subsystem.free - size)
    assert subsystem.free < MIB
    with kept(subsystem) as peak, subsystem.host(one) as first, subsystem.host(other) as second:
        for number in range(6):
            for host in (first, second):
                (host.in_order if number < 3 else host.at_random)()
                # A write that found no place on the disks says so here at the latest.
                host.flush()
            with contextlib.suppress(NoSnapshotSpace):
                subsystem.take(other, f"s{number}")
            if number and f"s{number - 1}" in subsystem.snapshots("other"):
                snapshots.delete(subsystem.database, subsystem.driver, "other", f"s{number - 1}")
    for vd, host in ((one, first), (other, second)):
        path = subsystem.driver.vd_path(subsystem.group.id, vd.id)
        forget(path)
        assert path.read_bytes() == host.model
    assert size < peak[0] <= subsystem.limits.limit
    assert subsystem.driver.given_back > 0
    assert subsystem.held > 0
    assert subsystem.events("space-runs-out") == subsystem.events("space-not-given-back") == []


@contextmanager
def watched(subsystem: Subsystem) -> Iterator[SpaceKeeping]:
    """Give what keeps the RG, and end it."""
    keeping = subsystem.keeping()
    try:
        yield keeping
    finally:
        keeping.close()


def test_snapshots_that_overflow_go_and_pinned_ones_stay(subsystem: Subsystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_room, "_HOPELESS", 600.0)
    size = subsystem.free // 3 // MIB * MIB
    vd = subsystem.vd("small", size, size // 2)
    subsystem.vd("rest", subsystem.free // BLOCK * BLOCK)
    with subsystem.host(vd) as host:
        host.in_order()
        subsystem.take(vd, "pinned")
        pin(subsystem, vd, "pinned")
        host.in_order(until=size // 3)
        subsystem.take(vd, "old")
        host.in_order()
    with watched(subsystem) as keeping:

        def looked_until_told(kind: str) -> list[str]:
            keeping.look()
            return subsystem.events(kind)

        fill_up(subsystem)
        (told,) = eventually(lambda: looked_until_told("snapshot-let-go"))
        assert told.startswith("Snapshot old of small was let go of")
        assert subsystem.snapshots("small") == ["pinned"]
        eventually(lambda: not keeping.look() or room(subsystem) >= subsystem.limits.let_go_on)
        # What the pinned one takes cannot be got back: that is told, once, and hosts are not held for nothing.
        fill_up(subsystem)
        eventually(lambda: looked_until_told("space-runs-out"))
        held = subsystem.held
        for _ in range(5):
            keeping.look()
        assert subsystem.held == held
    assert subsystem.snapshots("small") == ["pinned"]
    assert len(subsystem.events("space-runs-out")) == 1


def test_of_three_snapshots_of_which_one_suffices_one_goes_also_while_a_program_reads_it(subsystem: Subsystem) -> None:
    size = subsystem.free // 5 // MIB * MIB
    vd = subsystem.vd("small", size, 2 * size + size // 8)
    subsystem.vd("rest", subsystem.free // BLOCK * BLOCK)
    with subsystem.host(vd) as host:
        for number in range(3):
            host.in_order()
            subsystem.take(vd, f"s{number}")
        host.in_order()
        host.flush()
    with subsystem.database.session(read_only=True) as session:
        oldest = subsystem.driver.snapshot_path(subsystem.group.id, vd.id, snapshots.get(session, "small", "s0").id)
    fill_up(subsystem)
    assert room(subsystem) < subsystem.limits.hold_below
    with watched(subsystem) as keeping:
        with oldest.open("rb"):
            eventually(lambda: keeping.look() and subsystem.events("snapshot-let-go"))
            for _ in range(3):
                keeping.look()
            assert subsystem.snapshots("small") == ["s1", "s2"]
        eventually(lambda: not keeping.look() or room(subsystem) >= subsystem.limits.let_go_on)
    assert subsystem.snapshots("small") == ["s1", "s2"]
    assert len(subsystem.events("snapshot-let-go")) == 1
    assert subsystem.events("space-runs-out") == []


def pin(subsystem: Subsystem, vd: VirtualDisk, name: str) -> None:
    """Make the snapshot a job's base."""
    with subsystem.database.session() as session:
        base = snapshots.get(session, vd.name, name)
        session.add(
            Job(
                name="holder",
                source_vd_id=vd.id,
                target_subsystem="s",
                target_node="iqn.2026-01.test:n",
                target_lun=0,
                target_vd="v",
                target_serial="s",
                target_size=vd.size,
                base_snapshot_id=base.id,
                base_generation=1,
            )
        )


def fill_up(subsystem: Subsystem) -> None:
    """Write the other VD until hosts would have to wait."""
    with subsystem.database.session(read_only=True) as session:
        rest = virtual_disks.get(session, "rest")
    with subsystem.host(rest) as host:
        at = subsystem.driver.allocated(subsystem.group.id, rest.id) // MIB * MIB
        while room(subsystem) >= subsystem.limits.hold_below and at < rest.size:
            host.write(at, min(MIB, rest.size - at))
            at += MIB
            if at % (16 * MIB) == 0:
                subsystem.driver.flush(subsystem.group.id, rest.id)
        host.flush()


def room(subsystem: Subsystem) -> int:
    use = subsystem.driver.data_use(subsystem.group.id)
    return subsystem.limits.limit - use.held - use.coming


def test_an_rg_with_room_is_left_alone(subsystem: Subsystem) -> None:
    vd = subsystem.vd("one", 64 * MIB)
    with subsystem.host(vd) as host:
        host.in_order()
        host.at_random()
    subsystem.driver.let_go(subsystem.group.id)
    with watched(subsystem) as keeping:
        assert keeping.tidy() is Pressure.NONE
        assert not keeping.look()
    assert (subsystem.held, subsystem.driver.given_back) == (0, 0)
