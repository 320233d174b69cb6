"""Disks of RGs whose last promised byte is sold and written are replaced; every test ends in a comparison of bytes."""

import mmap
import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_chunks import profiles
from qreplica.storage.btrfs_disks import members
from qreplica.storage.btrfs_needs import DATA_PROFILES
from qreplica.storage.btrfs_room import Room, emptiest, room
from qreplica.storage.btrfs_upkeep import exclusive
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import GroupHealth, RaidLevel
from qreplica.units import GIB, MIB

from ..storage.conftest import make_disks, place  # noqa: F401, TID252 - fixtures of the storage tests
from ..storage.failing_disks import eventually, meanwhile, replace, scrub, vanish  # noqa: TID252 - shared with them

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]
PIECE = 64 * 1024
DISKS = {RaidLevel.RAID1: 2, RaidLevel.MIRROR3: 3, RaidLevel.RAID10: 4, RaidLevel.RAID5: 3}


class Vd:
    """A VD that is written in pieces past the page cache, as the target does; each tells its place and its version."""

    def __init__(self, driver: BtrfsDriver, group: str, name: str, size: int) -> None:
        self.driver, self.group, self.name = driver, group, name
        self.versions = [0] * (size // PIECE)
        self.filling = random.Random(name).randbytes(PIECE - 16)
        self.buffer = mmap.mmap(-1, PIECE)
        driver.create_vd(group, name, size // PIECE * PIECE)
        self.write(range(len(self.versions)))

    def write(self, pieces: Iterable[int]) -> None:
        fd = os.open(self.driver.vd_path(self.group, self.name), os.O_WRONLY | os.O_DIRECT)
        try:
            for piece in pieces:
                self.buffer[:] = self._content(piece, self.versions[piece] + 1)
                os.pwrite(fd, self.buffer, piece * PIECE)
                self.versions[piece] += 1
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _content(self, piece: int, version: int) -> bytes:
        return struct.pack("<QQ", piece, version) + self.filling

    def check(self, path: Path, versions: list[int]) -> None:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for piece, version in enumerate(versions):
                assert file.read(PIECE) == self._content(piece, version), (path, piece)


class SoldOut:
    """An RG of which all is sold: a VD that is overwritten in any order, and one with a snapshot and its space."""

    def __init__(self, driver: BtrfsDriver, name: str, disks: list[Path], level: RaidLevel, size: int) -> None:
        self.driver, self.name, self.disks, self.level = driver, name, disks, level
        self.chance = random.Random(name)
        room = capacity(level, [size] * len(disks)).promisable
        driver.create_group(name, disks, level)
        self.kept = Vd(driver, name, "kept", room // 4)
        driver.take_snapshot(name, "kept", "s")
        self.frozen = list(self.kept.versions)
        self.kept.write(range(len(self.kept.versions)))
        self.vd = Vd(driver, name, "v", room - 2 * (room // 4))
        self.vd.write(self.shuffled())
        self.mount = driver.vd_path(name, "v").parents[3]

    def shuffled(self) -> list[int]:
        pieces = list(range(len(self.vd.versions)))
        self.chance.shuffle(pieces)
        return pieces

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Overwrite a VD in any order meanwhile; what could not be written is written again at the end.

        Without one of its disks a RAID 5 refuses writes now and then.
        """
        refused = set[int]()

        def go_on(enough: Callable[[], bool]) -> None:
            while not enough():
                pieces = self.chance.sample(range(len(self.vd.versions)), 16)
                try:
                    self.vd.write(pieces)
                except OSError:
                    refused.update(pieces)

        with meanwhile(go_on):
            yield
        assert self.level is RaidLevel.RAID5 or not refused
        self.vd.write(sorted(refused))

    def check(self) -> None:
        self.vd.check(self.driver.vd_path(self.name, "v"), self.vd.versions)
        self.kept.check(self.driver.vd_path(self.name, "kept"), self.kept.versions)
        self.kept.check(self.driver.snapshot_path(self.name, "kept", "s"), self.frozen)

    def room(self) -> Room:
        return room(self.mount, members(self.mount))

    def tend_until_replaceable(self) -> None:
        def look() -> bool:
            self.driver.tend_group(self.name)
            return self.room().free > self.room().needed and exclusive(self.mount) == "none"

        eventually(look, self.room)

    def check_whole(self, lost: Path) -> None:
        """All is there, with the level's redundancy, and without another disk too."""
        self.check()
        found = scrub(self.driver, self.name)
        assert (found.corrected, found.uncorrectable) == (0, 0)
        assert profiles(self.mount)["data"] == {DATA_PROFILES[self.level]}
        self.driver.close_group(self.name)
        vanish(lost)
        self.driver.open_group(self.name, self.disks)
        assert self.driver.group_status(self.name).health is GroupHealth.DEGRADED
        self.check()


@pytest.fixture
def make_group(place: Path) -> Iterator[Callable[..., SoldOut]]:  # noqa: F811 - imported above
    driver = BtrfsDriver(place / "rg")
    made: list[str] = []

    def make(level: RaidLevel, disks: list[Path], size: int) -> SoldOut:
        made.append(f"s{len(made)}-{level}-{size // MIB}")
        return SoldOut(driver, made[-1], disks, level, size)

    yield make
    for name in made:
        driver.close_group(name)


@pytest.mark.parametrize(
    ("level", "size"),
    [
        (RaidLevel.RAID1, 768 * MIB),
        (RaidLevel.RAID1, GIB),
        (RaidLevel.MIRROR3, 768 * MIB),
        (RaidLevel.MIRROR3, GIB),
        (RaidLevel.RAID10, 768 * MIB),
        (RaidLevel.RAID5, 768 * MIB),
    ],
)
def test_a_disk_vanishes_under_writes_and_is_replaced(
    make_group: Callable[..., SoldOut],
    make_disks: MakeDisks,  # noqa: F811 - imported above
    level: RaidLevel,
    size: int,
) -> None:
    *own, new = make_disks(DISKS[level] + 1, size)
    group = make_group(level, own, size)
    if level is RaidLevel.RAID5:
        # Without one of its disks it refuses to empty chunks as it refuses writes.
        group.tend_until_replaceable()
    old = own[-1]
    with group.writing():
        vanish(old)
        status = replace(group.driver, group.name, old, new)
    group.disks = [*own[:-1], new]
    assert {member.disk for member in status.members} == set(group.disks)
    group.check_whole(own[0])


@pytest.mark.parametrize("level", [RaidLevel.RAID1, RaidLevel.MIRROR3])
def test_what_is_written_without_a_disk_has_all_its_copies_again(
    make_group: Callable[..., SoldOut],
    make_disks: MakeDisks,  # noqa: F811 - imported above
    level: RaidLevel,
) -> None:
    *own, new = make_disks(DISKS[level] + 1, 768 * MIB)
    group = make_group(level, own, 768 * MIB)
    group.driver.close_group(group.name)
    vanish(own[0])
    group.driver.open_group(group.name, own)
    group.vd.write(group.shuffled())
    with group.writing():
        replace(group.driver, group.name, own[0], new)
    group.disks = [new, *own[1:]]
    group.check_whole(own[-1])


def test_room_for_a_replacement_is_made_before_one_is_needed(
    make_group: Callable[..., SoldOut],
    make_disks: MakeDisks,  # noqa: F811 - imported above
) -> None:
    group = make_group(RaidLevel.RAID1, make_disks(2, 768 * MIB), 768 * MIB)
    assert group.room().free <= group.room().needed
    group.tend_until_replaceable()
    group.check()


def test_a_chunk_that_holds_more_than_can_be_spared_is_emptied_later(
    make_group: Callable[..., SoldOut],
    make_disks: MakeDisks,  # noqa: F811 - imported above
) -> None:
    group = make_group(RaidLevel.RAID1, make_disks(2, 768 * MIB), 768 * MIB)
    found = emptiest(group.mount, frozenset())
    assert found is not None
    holds = found[1]
    assert emptiest(group.mount, frozenset(), holds) == found
    assert emptiest(group.mount, frozenset(), holds - 1) is None
    group.driver.tend_group(group.name, spare=2 * holds - 1)
    assert exclusive(group.mount) == "none"
    group.tend_until_replaceable()
    group.check()


def test_what_is_being_moved_counts_as_coming_until_it_is_stopped(
    make_group: Callable[..., SoldOut],
    make_disks: MakeDisks,  # noqa: F811 - imported above
) -> None:
    group = make_group(RaidLevel.RAID1, make_disks(2, 768 * MIB), 768 * MIB)
    found = emptiest(group.mount, frozenset())
    assert found is not None
    group.driver.tend_group(group.name)
    moving = [exclusive(group.mount)]
    coming = group.driver.data_use(group.name).coming
    moving.append(exclusive(group.mount))
    assert moving == ["balance"] * 2
    assert coming >= found[1]
    group.driver.stop_moving(group.name)
    group.driver.stop_moving(group.name)
    assert exclusive(group.mount) == "none"
    group.driver.let_go(group.name)
    assert group.driver.data_use(group.name).coming < found[1]
    group.check()
