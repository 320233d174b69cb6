"""Real disks for storage tests: sparse files on loop devices, below a directory that a sweep can find."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import RaidLevel, StorageDriver
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

MakeDisks = Callable[..., list[Path]]


def _start_ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for images and mounts, marked with the process that owns it, and emptied afterwards."""
    base = Path("/var/tmp/qreplica-test")
    number = 1
    while (path := base / f"{os.getpid()}-{number}").exists():
        number += 1
    path.mkdir(parents=True)
    (path / "owner").write_text(f"{os.getpid()} {_start_ticks(os.getpid())}\n")
    yield path
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{path}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def make_disks(place: Path) -> Iterator[MakeDisks]:
    """Return a function that makes ``count`` loop devices of ``size`` bytes each."""
    with ExitStack() as stack:

        def make(count: int, size: int = 2 * GIB) -> list[Path]:
            return [_loop(place, size, stack) for _ in range(count)]

        yield make


def _loop(place: Path, size: int, stack: ExitStack) -> Path:
    number = sum(1 for _ in place.glob("disk-*"))
    image = place / f"disk-{number}"
    with image.open("xb") as file:
        file.truncate(size)
    command = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", device], check=True)
    return Path(device)


@pytest.fixture(scope="module", params=["memory", pytest.param("btrfs", marks=pytest.mark.root)])
def driver(request: pytest.FixtureRequest, place: Path) -> Iterator[StorageDriver]:
    """Each driver in turn."""
    if request.param == "btrfs":
        yield BtrfsDriver(place / "rg")
        return
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir="/dev/shm") as memory:
        yield MemoryDriver(Path(memory))


@pytest.fixture(scope="module")
def disks(
    driver: StorageDriver, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Two disks that suit the driver."""
    if isinstance(driver, BtrfsDriver):
        made: list[Path] = request.getfixturevalue("make_disks")(2)
        return made
    files = [tmp_path_factory.mktemp("disks") / f"disk-{number}" for number in range(2)]
    for file in files:
        with file.open("xb") as opened:
            opened.truncate(2 * GIB)
    return files


@pytest.fixture(scope="module")
def group(driver: StorageDriver, disks: list[Path]) -> Iterator[str]:
    """An open RAID 1 group."""
    driver.create_group("g1", disks, RaidLevel.RAID1)
    yield "g1"
    for vd in driver.list_vds("g1"):
        driver.delete_vd("g1", vd)
    driver.delete_group("g1", disks)


@pytest.fixture(scope="module")
def btrfs(place: Path) -> BtrfsDriver:
    """The btrfs driver."""
    return BtrfsDriver(place / "rg")


@pytest.fixture(scope="module")
def rg(btrfs: BtrfsDriver, make_disks: MakeDisks) -> str:
    """An open group of one disk."""
    btrfs.create_group("one", make_disks(1, 4 * GIB), RaidLevel.JBOD)
    return "one"
