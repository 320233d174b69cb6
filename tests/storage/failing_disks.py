"""Disks that fail as real ones do, on loop devices; and waiting until an RG has got over it."""

import contextlib
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from qreplica.storage.driver import GroupHealth, GroupStatus, Scrub, StorageDriver
from qreplica.storage.errors import NoRoomForReplacement, ReplacementFailed, RoomBeingMade

T = TypeVar("T")
_PATIENCE, _POLL = 120.0, 0.1
SECTOR = 512
#: Of linux/loop.h: struct loop_info64 with its lo_sizelimit.
_LOOP_SET_STATUS64, _LOOP_GET_STATUS64, _LOOP_INFO_SIZE, _SIZE_LIMIT_AT = 0x4C04, 0x4C05, 232, 32


def eventually(look: Callable[[], T], told: Callable[[], object] = str) -> T:
    """Return what ``look`` finds, as soon as that is true; fail after two minutes with what ``told`` tells."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not happen: {told()}"
        time.sleep(_POLL)
    return found


def tend(driver: StorageDriver, group: str) -> GroupStatus:
    """Tend the RG until it is online."""

    def look() -> bool:
        driver.tend_group(group)
        return driver.group_status(group).health is GroupHealth.ONLINE

    eventually(look, lambda: (driver.group_status(group), driver.scrub_status(group)))
    return driver.group_status(group)


def scrub(driver: StorageDriver, group: str) -> Scrub:
    """Scrub the RG to the end, and return what was found."""
    driver.start_scrub(group)

    def look() -> Scrub | None:
        status = driver.scrub_status(group)
        return status if status is not None and not status.running else None

    found = eventually(look, lambda: driver.scrub_status(group))
    assert found is not None
    assert not found.interrupted, found
    return found


def image_of(disk: Path) -> Path:
    """Return the file behind a loop device."""
    command = ["losetup", "--noheadings", "--output", "BACK-FILE", str(disk)]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


@contextmanager
def vanished(disk: Path) -> Iterator[None]:
    """Let all access to a disk fail, as when it is pulled, also while it is in use; then it is back as it was.

    It keeps its loop device: another process would take a free one.
    """
    _limit(disk, SECTOR)
    try:
        yield
    finally:
        _limit(disk, 0)


@contextmanager
def meanwhile(go_on: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Have a thread do it as long as the context lasts; it is given what tells whether that is over, and waited for."""
    enough = threading.Event()
    thread = threading.Thread(target=go_on, args=[enough.is_set])
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def vanish(disk: Path) -> None:
    """Let all access to a disk fail from now on; what it held is lost."""
    _limit(disk, SECTOR)
    os.truncate(image_of(disk), 0)


def _limit(disk: Path, size: int) -> None:
    """Let a loop device end after ``size`` bytes of its file, from one access to the next; 0 for at its end."""
    fd = os.open(disk, os.O_RDWR | os.O_CLOEXEC)
    try:
        info = bytearray(_LOOP_INFO_SIZE)
        fcntl.ioctl(fd, _LOOP_GET_STATUS64, info)
        struct.pack_into("<Q", info, _SIZE_LIMIT_AT, size)
        fcntl.ioctl(fd, _LOOP_SET_STATUS64, info)
    finally:
        os.close(fd)


def forget(file: Path) -> None:
    """Have what is read next of a file come from the disks."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def replace(driver: StorageDriver, group: str, old: Path, new: Path) -> GroupStatus:
    """Replace a disk to the end, as maintenance does: begun again and again until it is done; return the state then."""

    def look() -> bool:
        with contextlib.suppress(ReplacementFailed):
            driver.tend_group(group)
        status = driver.group_status(group)
        if status.health is GroupHealth.REBUILDING:
            return False
        if any(member.disk == new for member in status.members):
            return status.health is GroupHealth.ONLINE
        with contextlib.suppress(RoomBeingMade, NoRoomForReplacement):
            driver.replace_disk(group, old, new)
        return False

    eventually(look, lambda: driver.group_status(group))
    return driver.group_status(group)
