"""What only a real btrfs can show: every level, missing disks, a full group, deltas of every kind of change."""

import contextlib
import ctypes
import fcntl
import os
import random
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import BLOCK, Extent, ExtentKind, GroupHealth, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupBusy, GroupFull, NotADisk
from qreplica.units import GIB, MIB

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]

LEVELS = {
    RaidLevel.JBOD: 2,
    RaidLevel.RAID0: 2,
    RaidLevel.RAID1: 3,
    RaidLevel.RAID10: 4,
    RaidLevel.MIRROR3: 3,
    RaidLevel.MIRROR4: 4,
}


@pytest.fixture(scope="module")
def btrfs(place: Path) -> BtrfsDriver:
    return BtrfsDriver(place / "rg")


@pytest.fixture(scope="module")
def rg(btrfs: BtrfsDriver, make_disks: MakeDisks) -> str:
    btrfs.create_group("prop", make_disks(1, 4 * GIB), RaidLevel.JBOD)  # type: ignore[operator]
    return "prop"


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_promised_of_a_level_can_be_written(
    btrfs: BtrfsDriver, make_disks: MakeDisks, level: RaidLevel
) -> None:
    size = 768 * MIB
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


def test_opened_degraded_without_one_disk(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(2, GIB)
    btrfs.create_group("degraded", devices, RaidLevel.RAID1)
    btrfs.create_vd("degraded", "v", MIB)
    btrfs.vd_path("degraded", "v").write_bytes(b"m" * MIB)
    btrfs.close_group("degraded")
    image = subprocess.run(["losetup", "-nO", "BACK-FILE", devices[0]], check=True, capture_output=True, text=True)
    subprocess.run(["btrfs", "device", "scan", "--forget"], check=False, capture_output=True)
    subprocess.run(["losetup", "--detach", devices[0]], check=True)
    try:
        btrfs.open_group("degraded", [Path("/dev/gone"), devices[1]])
        status = btrfs.group_status("degraded")
        assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, 1)
        assert btrfs.vd_path("degraded", "v").read_bytes() == b"m" * MIB
        btrfs.close_group("degraded")
    finally:
        subprocess.run(["losetup", devices[0], image.stdout.strip()], check=True)


def test_a_group_in_use_is_not_closed(btrfs: BtrfsDriver, rg: str) -> None:
    btrfs.create_vd(rg, "held", MIB)
    with btrfs.vd_path(rg, "held").open("rb"), pytest.raises(GroupBusy):
        btrfs.close_group(rg)
    btrfs.delete_vd(rg, "held")


def make_ext4(disk: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)


def make_partitions(disk: Path) -> None:
    subprocess.run(["sfdisk", "--quiet", disk], input=b"label: gpt\n,100M\n", check=True)


def make_two_signatures(disk: Path) -> None:
    """A filesystem whose label says ours, below what was an ext4: blkid finds both and tells neither."""
    make_ext4(disk)
    with disk.open("r+b") as file:
        file.seek(0)
        file.write(b"XFSB")


@pytest.mark.parametrize("use", [make_ext4, make_partitions, make_two_signatures])
def test_a_used_disk_is_left_alone(btrfs: BtrfsDriver, make_disks: MakeDisks, use: Callable[[Path], None]) -> None:
    used, free = make_disks(2, GIB)
    use(used)
    before = used.read_bytes()[: 4 * MIB]
    with pytest.raises(DiskInUse, match=f"{used} is already used by"):
        btrfs.create_group("never", [free, used], RaidLevel.RAID1)
    assert used.read_bytes()[: 4 * MIB] == before
    assert free.read_bytes()[: 4 * MIB] == bytes(4 * MIB)
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


def make_many_vds(btrfs: BtrfsDriver) -> None:
    for number in range(2000):
        btrfs.create_vd("full", f"w{number}", MIB)


def test_a_full_group_says_so(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, 600 * MIB)
    btrfs.create_group("full", devices, RaidLevel.JBOD)
    btrfs.create_vd("full", "v", GIB)
    with contextlib.suppress(OSError), btrfs.vd_path("full", "v").open("r+b", buffering=0) as file:
        while True:
            file.write(b"f" * MIB)
    assert btrfs.vd_path("full", "v").stat().st_size == GIB
    stuffing = btrfs.vd_path("full", "v").parents[3]
    with contextlib.suppress(OSError):
        for number in range(500_000):
            (stuffing / f"stuffing-{number}").write_bytes(b"s" * 2000)
    with pytest.raises(GroupFull, match="RAID group full is full and refused"):
        make_many_vds(btrfs)
    assert "v" in btrfs.list_vds("full")


def test_leftovers_of_a_crash_are_cleared_at_open(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("crash", devices, RaidLevel.JBOD)
    for vd in ("a", "b", "c"):
        btrfs.create_vd("crash", vd, MIB)
    btrfs.take_snapshot("crash", "b", "s")
    mount = btrfs.vd_path("crash", "a").parents[3]
    (mount / "vds/a/live").rename(mount / "vds/a/new")
    (mount / "vds/b").rename(mount / "trash/b")
    subprocess.run(["btrfs", "-q", "subvolume", "snapshot", mount / "vds/c/live", mount / "vds/c/new"], check=True)
    btrfs.close_group("crash")
    btrfs.open_group("crash", devices)
    assert btrfs.list_vds("crash") == ["c"]
    assert sorted(path.name for path in (mount / "vds").iterdir()) == ["c"]
    assert sorted(path.name for path in (mount / "vds/c").iterdir()) == ["live", "snapshots"]
    assert list((mount / "trash").iterdir()) == []
    btrfs.create_vd("crash", "a", MIB)


SIZE = 96 * BLOCK
_PUNCH = 0x03
_CLONE_RANGE = 0x4020940D

offsets = st.integers(0, SIZE - 1)
lengths = st.one_of(st.integers(1, 3 * BLOCK), st.sampled_from([BLOCK, 8 * BLOCK]))
operations = st.one_of(
    st.tuples(st.just("write"), offsets, lengths, st.integers(0, 255)),
    st.tuples(st.just("again"), offsets, lengths),
    st.tuples(st.just("punch"), offsets, lengths),
    st.tuples(st.just("clone"), st.integers(0, 95), st.integers(1, 4), st.integers(0, 95)),
    st.tuples(st.just("grow"), st.integers(1, 16)),
    st.tuples(st.just("shrink"), st.integers(1, 16)),
    st.tuples(st.just("roll back"), st.integers(0, 5)),
    st.tuples(st.just("fallocate"), offsets, lengths),
    st.tuples(st.just("flush")),
    st.tuples(st.just("snapshot")),
)


class Disk:
    """A VD under random operations, as a host and an administrator might give them."""

    def __init__(self, driver: BtrfsDriver, group: str, vd: str) -> None:
        self.driver, self.group, self.vd = driver, group, vd
        self.generations: list[str] = []
        driver.create_vd(group, vd, SIZE)

    def do(self, operation: tuple[object, ...]) -> None:
        verb, *arguments = operation
        if verb == "snapshot":
            name = f"g{len(self.generations)}"
            self.driver.take_snapshot(self.group, self.vd, name)
            self.generations.append(name)
        elif verb == "roll back":
            if self.generations:
                number = int(arguments[0]) % len(self.generations)  # type: ignore[call-overload]
                self.driver.roll_back(self.group, self.vd, self.generations[number])
        else:
            fd = os.open(self.driver.vd_path(self.group, self.vd), os.O_RDWR)
            try:
                self._on_file(fd, verb, arguments)
            finally:
                os.close(fd)

    def _on_file(self, fd: int, verb: object, arguments: list[object]) -> None:
        size = os.fstat(fd).st_size
        if verb == "write":
            offset, length, byte = arguments
            os.pwrite(fd, bytes([byte]) * min(length, max(0, size - offset)), offset)  # type: ignore[list-item, operator, type-var, arg-type]
        elif verb == "again":
            offset, length = arguments
            os.pwrite(fd, os.pread(fd, length, offset), offset)  # type: ignore[arg-type]
        elif verb in ("punch", "fallocate"):
            mode = _PUNCH if verb == "punch" else 0x01
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.fallocate(fd, mode, ctypes.c_long(arguments[0]), ctypes.c_long(arguments[1])) == 0  # type: ignore[arg-type]
        elif verb == "clone":
            source, count, destination = arguments
            request = struct.pack("=qQQQ", fd, source * BLOCK, count * BLOCK, destination * BLOCK)  # type: ignore[operator]
            with contextlib.suppress(OSError):  # overlapping ranges and those beyond the end are refused by the kernel
                fcntl.ioctl(fd, _CLONE_RANGE, request)
        elif verb == "flush":
            os.fsync(fd)
        elif verb == "grow":
            os.ftruncate(fd, size + arguments[0] * BLOCK)  # type: ignore[operator]
        else:
            os.ftruncate(fd, max(BLOCK, size - arguments[0] * BLOCK))  # type: ignore[operator]


def applied(base: bytes, new: bytes, delta: list[Extent]) -> bytes:
    """What a receiver that holds ``base`` gets: the proof reads only what the delta names."""
    result = bytearray(base[: len(new)].ljust(len(new), b"\xaa"))
    for extent in delta:
        replacement = new[extent.offset : extent.end] if extent.kind is ExtentKind.DATA else bytes(extent.length)
        result[extent.offset : extent.end] = replacement
    return bytes(result)


def check_form(delta: list[Extent], size: int) -> None:
    previous = None
    for extent in delta:
        assert extent.length > 0
        assert extent.offset % BLOCK == extent.length % BLOCK == 0
        assert extent.end <= size
        if previous is not None:
            assert extent.offset >= previous.end
            assert extent.offset > previous.end or extent.kind is not previous.kind
        previous = extent


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(operations, min_size=3, max_size=40))
def test_every_delta_turns_its_base_into_its_new(btrfs: BtrfsDriver, rg: str, script: list[tuple[object, ...]]) -> None:
    disk = Disk(btrfs, rg, "fuzzed")
    try:
        for operation in (*script, ("snapshot",), ("write", 0, BLOCK, 7), ("snapshot",)):
            disk.do(operation)
        content = {name: btrfs.snapshot_path(rg, disk.vd, name).read_bytes() for name in disk.generations}
        for number, new in enumerate(disk.generations):
            for base in (None, *disk.generations[:number]):
                delta = btrfs.delta(rg, disk.vd, base, new)
                check_form(delta, len(content[new]))
                old = b"\xaa" * len(content[new]) if base is None else content[base]
                assert applied(old, content[new], delta) == content[new], (base, new)
    finally:
        btrfs.delete_vd(rg, disk.vd)


@pytest.fixture
def busy_vd(btrfs: BtrfsDriver, rg: str) -> Iterator[str]:
    btrfs.create_vd(rg, "busy", 16 * MIB)
    yield "busy"
    btrfs.delete_vd(rg, "busy")


def test_deltas_hold_while_writes_go_on(btrfs: BtrfsDriver, rg: str, busy_vd: str) -> None:
    done = threading.Event()

    def scribble() -> None:
        chance = random.Random(5)
        fd = os.open(btrfs.vd_path(rg, busy_vd), os.O_RDWR)
        while not done.is_set():
            os.pwrite(fd, chance.randbytes(chance.randrange(1, 2 * BLOCK)), chance.randrange(16 * MIB - 2 * BLOCK))
        os.close(fd)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for number in range(6):
            btrfs.take_snapshot(rg, busy_vd, f"s{number}")
    finally:
        done.set()
        writer.join()
    content = [btrfs.snapshot_path(rg, busy_vd, f"s{number}").read_bytes() for number in range(6)]
    for number in range(1, 6):
        delta = btrfs.delta(rg, busy_vd, f"s{number - 1}", f"s{number}")
        check_form(delta, 16 * MIB)
        assert applied(content[number - 1], content[number], delta) == content[number]
    assert len({bytes(each) for each in content}) > 1
