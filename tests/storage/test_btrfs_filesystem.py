"""The filesystem of an RG on real disks: every level, missing and foreign disks, disks in use, errors."""

import os
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import BLOCK, GroupHealth, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupBusy, GroupFailed, NotADisk, StorageCommandFailed
from qreplica.units import GIB, MIB

from .failing_disks import tend, vanished

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]

LEVELS = {
    RaidLevel.JBOD: 2,
    RaidLevel.RAID0: 2,
    RaidLevel.RAID1: 3,
    RaidLevel.RAID5: 3,
    RaidLevel.RAID6: 4,
    RaidLevel.RAID10: 4,
    RaidLevel.MIRROR3: 3,
    RaidLevel.MIRROR4: 4,
}

REDUNDANT = [level for level in LEVELS if level not in {RaidLevel.JBOD, RaidLevel.RAID0}]


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_promised_of_a_level_can_be_written(
    btrfs: BtrfsDriver, make_disks: MakeDisks, level: RaidLevel
) -> None:
    # Four copies keep more back: smaller disks would leave nothing to promise.
    size = GIB if level is RaidLevel.MIRROR4 else 512 * MIB
    devices = make_disks(LEVELS[level], size)
    promised = capacity(level, [size] * len(devices))
    room = (promised.usable - promised.reserve) // BLOCK * BLOCK
    btrfs.create_group(level.value, devices, level)
    btrfs.create_vd(level.value, "full", room)
    chunk = random.Random(level.value).randbytes(MIB)
    with btrfs.vd_path(level.value, "full").open("r+b") as file:
        for offset in range(0, room, MIB):
            file.write(chunk[: room - offset])
        os.fsync(file.fileno())
    btrfs.close_group(level.value)
    btrfs.open_group(level.value, devices)
    with btrfs.vd_path(level.value, "full").open("rb") as file:
        assert all(file.read(MIB) == chunk[: room - offset] for offset in range(0, room, MIB))
    btrfs.delete_vd(level.value, "full")
    btrfs.delete_group(level.value, devices)
    assert all(
        b"btrfs" not in subprocess.run(["blkid", "-p", disk], capture_output=True, check=False).stdout
        for disk in devices
    )


@pytest.mark.parametrize("level", REDUNDANT)
def test_opened_degraded_without_one_disk(btrfs: BtrfsDriver, make_disks: MakeDisks, level: RaidLevel) -> None:
    devices = make_disks(LEVELS[level], GIB)
    btrfs.create_group("degraded", devices, level)
    btrfs.create_vd("degraded", "v", MIB)
    btrfs.vd_path("degraded", "v").write_bytes(b"m" * MIB)
    btrfs.close_group("degraded")
    with vanished(devices[0]):
        btrfs.open_group("degraded", [Path("/dev/gone"), *devices[1:]])
        status = btrfs.group_status("degraded")
        assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, 1)
        assert btrfs.vd_path("degraded", "v").read_bytes() == b"m" * MIB
        btrfs.take_snapshot("degraded", "v", "s")
        btrfs.close_group("degraded")
    btrfs.open_group("degraded", devices)
    assert btrfs.group_status("degraded").health is GroupHealth.REBUILDING
    assert tend(btrfs, "degraded").missing_disks == 0
    assert btrfs.snapshot_path("degraded", "v", "s").read_bytes() == b"m" * MIB
    btrfs.delete_vd("degraded", "v")
    btrfs.delete_group("degraded", devices)


def test_a_level_without_redundancy_is_not_opened_without_a_disk(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(2, GIB)
    btrfs.create_group("halved", devices, RaidLevel.RAID0)
    btrfs.close_group("halved")
    with vanished(devices[0]), pytest.raises(GroupFailed, match="RAID group halved cannot be opened"):
        btrfs.open_group("halved", [Path("/dev/gone"), devices[1]])
    assert btrfs.group_status("halved").health is GroupHealth.CLOSED
    btrfs.open_group("halved", devices)
    btrfs.delete_group("halved", devices)


def test_disks_of_another_group_are_left_alone(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("theirs", devices, RaidLevel.JBOD)
    with pytest.raises(GroupFailed, match="none of its disks is there"):
        btrfs.open_group("ours", devices)
    btrfs.delete_group("ours", devices)
    assert btrfs.group_status("theirs").health is GroupHealth.ONLINE
    btrfs.close_group("theirs")
    with pytest.raises(DiskInUse, match="“qr-theirs”"):
        btrfs.create_group("ours", devices, RaidLevel.JBOD)
    btrfs.delete_group("ours", devices)
    btrfs.open_group("theirs", devices)


def test_a_group_is_not_made_again_on_some_of_its_disks(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(3, GIB)
    btrfs.create_group("three", devices[:2], RaidLevel.RAID1)
    btrfs.create_vd("three", "v", MIB)
    for other in (devices, devices[:1]):
        level = RaidLevel.JBOD if len(other) == 1 else RaidLevel.RAID1
        with pytest.raises(DiskInUse):
            btrfs.create_group("three", other, level)
        assert btrfs.list_vds("three") == ["v"]
    btrfs.close_group("three")
    with pytest.raises(DiskInUse, match="a RAID group of 2 disk"):
        btrfs.create_group("three", devices[:1], RaidLevel.JBOD)
    assert btrfs.group_status("three").health is GroupHealth.CLOSED


@pytest.mark.usefixtures("stopped_writing")
def test_a_group_that_stopped_writing_is_failed(btrfs: BtrfsDriver, rg: str) -> None:
    assert btrfs.group_status(rg).health is GroupHealth.FAILED
    with pytest.raises(StorageCommandFailed, match="Read-only file system"):
        btrfs.create_vd(rg, "v", MIB)


@pytest.fixture
def stopped_writing(place: Path, rg: str) -> Iterator[None]:
    """What the kernel makes of a filesystem after an error: it can only be read."""
    mount = place / "rg" / rg
    subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", mount], check=True)


def test_a_group_in_use_is_not_closed(btrfs: BtrfsDriver, rg: str) -> None:
    btrfs.create_vd(rg, "held", MIB)
    with btrfs.vd_path(rg, "held").open("rb"), pytest.raises(GroupBusy):
        btrfs.close_group(rg)
    btrfs.delete_vd(rg, "held")


def make_ext4(disk: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)


def make_partitions(disk: Path) -> None:
    """A master boot record with one Linux partition of 64 MiB that begins at 1 MiB."""
    partition = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 64 * MIB // 512)
    with disk.open("r+b") as file:
        file.write(bytes(446) + partition.ljust(64, b"\0") + b"\x55\xaa")


def make_two_signatures(disk: Path) -> None:
    """An XFS over what was an ext4: blkid finds both and tells neither."""
    make_ext4(disk)
    with disk.open("r+b") as file:
        file.seek(0)
        file.write(b"XFSB")


def beginning(disk: Path) -> bytes:
    with disk.open("rb") as file:
        return file.read(4 * MIB)


@pytest.mark.parametrize("use", [make_ext4, make_partitions, make_two_signatures])
def test_a_used_disk_is_left_alone(btrfs: BtrfsDriver, make_disks: MakeDisks, use: Callable[[Path], None]) -> None:
    used, free = make_disks(2, 512 * MIB)
    use(used)
    before = beginning(used)
    with pytest.raises(DiskInUse, match=f"{used} is already used by"):
        btrfs.create_group("never", [free, used], RaidLevel.RAID1)
    assert beginning(used) == before
    assert beginning(free) == bytes(4 * MIB)
    assert btrfs.group_status("never").health is GroupHealth.CLOSED


def test_a_blank_disk_that_the_system_holds_is_refused(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    (disk,) = make_disks(1, GIB)
    holder = os.open(disk, os.O_RDWR | os.O_EXCL)
    try:
        with pytest.raises(DiskInUse, match="already used by the system"):
            btrfs.create_group("never", [disk], RaidLevel.JBOD)
    finally:
        os.close(holder)


def test_what_is_no_disk_is_refused(btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks) -> None:
    (disk,) = make_disks(1, GIB)
    image = place / "image"
    with image.open("xb") as file:
        file.truncate(GIB)
    with pytest.raises(NotADisk, match="it is no block device"):
        btrfs.create_group("never", [disk, image], RaidLevel.JBOD)
    with pytest.raises(NotADisk, match="No such file"):
        btrfs.create_group("never", [disk, place / "gone"], RaidLevel.JBOD)
