"""Replacing and adding disks on a real btrfs: full groups, larger disks, disks that return, other profiles."""

import errno
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.storage import btrfs_disks, btrfs_needs
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_chunks import chunks, profiles
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import BLOCK, GroupHealth, RaidLevel
from qreplica.storage.errors import DiskInUse, SpreadingFoundNoRoom, StorageCommandFailed
from qreplica.units import GIB, MIB

from .failing_disks import forget, replace, scrub, tend, vanish, vanished

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]
DISK = 768 * MIB


def fill(driver: BtrfsDriver, group: str, vd: str, size: int) -> None:
    """Make a VD and write it full of what its name tells, 1 MiB at a time, as a host does."""
    driver.create_vd(group, vd, size)
    chunk = random.Random(vd).randbytes(MIB)
    with driver.vd_path(group, vd).open("r+b") as file:
        for offset in range(0, size, MIB):
            file.write(chunk[: size - offset])
            file.flush()
            os.fdatasync(file.fileno())


def begin_growth(driver: BtrfsDriver, group: str, disks: list[Path], size: int) -> None:
    """Make a mirror of the first two disks with a full VD of so many bytes, and add the third."""
    driver.create_group(group, disks[:2], RaidLevel.RAID1)
    fill(driver, group, "v", size)
    driver.add_disk(group, disks[2])


def check(driver: BtrfsDriver, group: str, vd: str) -> None:
    chunk = random.Random(vd).randbytes(MIB)
    path = driver.vd_path(group, vd)
    forget(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        assert all(file.read(MIB) == chunk[: size - offset] for offset in range(0, size, MIB))


@pytest.fixture
def group(btrfs: BtrfsDriver, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a group to make; it is closed afterwards."""
    name = f"g{abs(hash(request.node.name)) % 10**9}"
    yield name
    btrfs.close_group(name)


@pytest.mark.parametrize(("level", "count"), [(RaidLevel.RAID1, 2), (RaidLevel.RAID0, 2), (RaidLevel.RAID5, 3)])
def test_what_a_sold_out_group_gains_by_a_disk_can_be_written(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str, level: RaidLevel, count: int
) -> None:
    disks = make_disks(count, DISK)
    before, after = (capacity(level, [DISK] * number).promisable // BLOCK * BLOCK for number in (count, count + 1))
    btrfs.create_group(group, disks, level)
    fill(btrfs, group, "old", before)
    btrfs.add_disk(group, *make_disks(1, DISK))
    assert btrfs.group_status(group).health is GroupHealth.REBUILDING
    tend(btrfs, group)
    fill(btrfs, group, "new", after - before)
    for vd in ("old", "new"):
        check(btrfs, group, vd)


def test_larger_disks_are_used_in_full(btrfs: BtrfsDriver, make_disks: MakeDisks, group: str) -> None:
    disks = make_disks(2, DISK)
    room = capacity(RaidLevel.RAID1, [DISK] * 2).promisable // BLOCK * BLOCK
    more = capacity(RaidLevel.RAID1, [2 * DISK] * 2).promisable // BLOCK * BLOCK - room
    btrfs.create_group(group, disks, RaidLevel.RAID1)
    fill(btrfs, group, "old", room)
    for old, new in zip(disks, make_disks(2, 2 * DISK), strict=True):
        btrfs.replace_disk(group, old, new)
        tend(btrfs, group)
    fill(btrfs, group, "new", more)
    for vd in ("old", "new"):
        check(btrfs, group, vd)


def test_what_was_written_on_one_disk_alone_is_mirrored_when_there_are_two(
    btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(2, DISK)
    btrfs.create_group(group, disks, RaidLevel.RAID1)
    btrfs.close_group(group)
    vanish(disks[0])
    btrfs.open_group(group, disks)
    fill(btrfs, group, "v", 256 * MIB)
    mount = place / "rg" / group
    assert "single" in profiles(mount)["data"]
    (new,) = make_disks(1, DISK)
    btrfs.replace_disk(group, disks[0], new)
    tend(btrfs, group)
    assert {chunk.profile for chunk in chunks(mount)} == {"raid1"}
    btrfs.close_group(group)
    vanish(disks[1])
    btrfs.open_group(group, [new, disks[1]])
    check(btrfs, group, "v")


def test_a_disk_that_returns_to_an_open_group_is_missing_until_it_is_put_in_again(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(2, DISK)
    btrfs.create_group(group, disks, RaidLevel.RAID1)
    btrfs.close_group(group)
    with vanished(disks[1]):
        btrfs.open_group(group, disks)
        fill(btrfs, group, "v", 32 * MIB)
    # What looks for new disks, as udev does, tells the kernel of it, which then calls it there and does not use it.
    subprocess.run(["btrfs", "device", "scan", disks[1]], check=True, capture_output=True)
    status = btrfs.group_status(group)
    assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, 1)
    btrfs.replace_disk(group, disks[1], disks[1])
    assert tend(btrfs, group).missing_disks == 0
    assert scrub(btrfs, group).corrected == 0
    btrfs.close_group(group)
    vanish(disks[0])
    btrfs.open_group(group, disks)
    check(btrfs, group, "v")


def test_a_disk_that_returns_after_it_was_replaced_is_left_out(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(3, DISK)
    btrfs.create_group(group, disks[:2], RaidLevel.RAID1)
    fill(btrfs, group, "v", 32 * MIB)
    with vanished(disks[0]):
        btrfs.replace_disk(group, disks[0], disks[2])
        tend(btrfs, group)
    for order in (disks, disks[::-1]):
        btrfs.close_group(group)
        btrfs.open_group(group, order)
        status = btrfs.group_status(group)
        assert status.health is GroupHealth.ONLINE
        assert {member.disk for member in status.members} == set(disks[1:])
        check(btrfs, group, "v")
    with pytest.raises(DiskInUse, match=f"qr-{group}"):
        btrfs.add_disk(group, disks[0])


def test_a_growth_makes_way_for_the_replacement_of_a_missing_disk(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(4, DISK)
    begin_growth(btrfs, group, disks, 192 * MIB)
    btrfs.tend_group(group)
    vanish(disks[0])
    btrfs.replace_disk(group, disks[0], disks[3])
    status = tend(btrfs, group)
    assert {member.disk for member in status.members} == set(disks[1:])
    check(btrfs, group, "v")


def test_a_growth_makes_way_for_the_replacement_of_a_disk_that_is_there(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(4, DISK)
    begin_growth(btrfs, group, disks, 192 * MIB)
    btrfs.tend_group(group)
    status = btrfs.group_status(group)
    assert (status.health, status.spreading) == (GroupHealth.REBUILDING, True)
    status = replace(btrfs, group, disks[0], disks[3])
    assert {member.disk for member in status.members} == set(disks[1:])
    assert not status.spreading
    check(btrfs, group, "v")


def test_a_growth_without_room_to_spread_it_is_told(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = make_disks(3, DISK)
    begin_growth(btrfs, group, disks, 32 * MIB)
    with monkeypatch.context() as patch:
        # As when the kernel finds none: it ends without having changed anything.
        patch.setattr("qreplica.storage.btrfs_upkeep._balance", lambda *_: None)
        for _ in range(5):
            btrfs.tend_group(group)
        for _ in range(2):
            with pytest.raises(SpreadingFoundNoRoom, match="delete snapshots"):
                btrfs.tend_group(group)
        assert btrfs.group_status(group).spreading
    # Another controller does not know of it.
    tend(BtrfsDriver(btrfs.vd_path(group, "v").parents[4]), group)


@pytest.mark.parametrize("what", ["os.getxattr", "qreplica.storage.btrfs_tools.fcntl.ioctl"])
def test_what_the_system_refuses_is_told_in_our_words(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    btrfs.create_group(group, make_disks(2, DISK), RaidLevel.RAID1)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(what, refuse)
        with pytest.raises(StorageCommandFailed, match="Input/output error"):
            btrfs.group_status(group)


def test_the_state_of_a_group_that_stopped_writing_is_told_without_what_is_noted_in_it(
    btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.create_group(group, make_disks(2, DISK), RaidLevel.RAID1)
    subprocess.run(["mount", "-o", "remount,ro", place / "rg" / group], check=True)

    def unreadable(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.getxattr", unreadable)
        status = btrfs.group_status(group)
    assert status.health is GroupHealth.FAILED
    assert len(status.members) == 2


def test_a_single_disk_gets_a_second_one(btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks, group: str) -> None:
    disks = make_disks(2, DISK)
    btrfs.create_group(group, disks[:1], RaidLevel.JBOD)
    fill(btrfs, group, "v", 32 * MIB)
    before = {chunk for chunk in chunks(place / "rg" / group) if chunk.is_data}
    btrfs.add_disk(group, disks[1])
    tend(btrfs, group)
    found = chunks(place / "rg" / group)
    assert {chunk.profile for chunk in found if not chunk.is_data} == {"raid1"}
    assert before == {chunk for chunk in found if chunk.is_data}
    btrfs.replace_disk(group, disks[0], *make_disks(1, DISK))
    tend(btrfs, group)
    check(btrfs, group, "v")


def test_a_crash_right_after_a_disk_was_added_leaves_the_spreading_to_do(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(3, DISK)
    begin_growth(btrfs, group, disks, 64 * MIB)
    btrfs.close_group(group)
    btrfs.open_group(group, disks)
    status = btrfs.group_status(group)
    assert (status.health, status.rebuilt) == (GroupHealth.REBUILDING, 0.0)
    tend(btrfs, group)
    check(btrfs, group, "v")


def test_a_disk_that_was_written_down_but_not_added_is_left_out_at_open(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(3, DISK)
    btrfs.create_group(group, disks[:2], RaidLevel.RAID1)
    btrfs.close_group(group)
    btrfs.open_group(group, disks)
    assert {member.disk for member in btrfs.group_status(group).members} == set(disks[:2])
    btrfs.add_disk(group, disks[2])
    assert {member.disk for member in btrfs.group_status(group).members} == set(disks)


def test_a_refused_disk_leaves_nothing_to_spread(
    btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(3, DISK)
    btrfs.create_group(group, disks[:2], RaidLevel.RAID1)
    subprocess.run(["mkfs.ext4", "-q", disks[2]], check=True)
    with pytest.raises(DiskInUse):
        btrfs.add_disk(group, disks[2])
    assert btrfs_needs.need(place / "rg" / group) is None
    assert btrfs.group_status(group).health is GroupHealth.ONLINE


def test_a_group_that_lost_too_much_opens_again_when_its_disks_are_back(
    btrfs: BtrfsDriver, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(2, DISK)
    btrfs.create_group(group, disks, RaidLevel.RAID0)
    fill(btrfs, group, "v", 32 * MIB)
    with vanished(disks[0]):
        with pytest.raises(OSError, match="error"):
            fill(btrfs, group, "lost", 32 * MIB)
        assert btrfs.group_status(group).missing_disks == 1
    btrfs.close_group(group)
    btrfs.open_group(group, disks)
    tend(btrfs, group)
    btrfs.create_vd(group, "w", BLOCK)


def test_errors_of_a_disk_are_told_also_after_a_restart(
    btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks, group: str
) -> None:
    disks = make_disks(2, GIB)
    btrfs.create_group(group, disks, RaidLevel.RAID1)
    fill(btrfs, group, "v", 16 * MIB)
    with vanished(disks[0]):
        fill(btrfs, group, "w", 16 * MIB)
        members = {member.path: member for member in btrfs_disks.members(place / "rg" / group)}
        assert members[disks[0]].missing
        assert members[disks[0]].errors.write > 0
        assert not members[disks[1]].missing
        assert members[disks[1]].errors.total == 0
    subprocess.run(["btrfs", "filesystem", "sync", place / "rg" / group], check=True)
    btrfs.close_group(group)
    btrfs.open_group(group, disks)
    again = {member.path: member for member in btrfs_disks.members(place / "rg" / group)}
    assert again[disks[0]].errors.write >= members[disks[0]].errors.write
    assert scrub(btrfs, group).corrected > 0
    assert scrub(btrfs, group).corrected == 0
