"""Disks that fail as real ones do, on loop devices; and waiting until an RG has got over it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from qreplica.storage.driver import GroupHealth, GroupStatus, Scrub, StorageDriver
from qreplica.storage.holes import written

T = TypeVar("T")
_PATIENCE, _POLL = 120.0, 0.1


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
    image = image_of(disk)
    size = image.stat().st_size
    aside = image.with_name(f"{image.name}-aside")
    subprocess.run(["cp", "--sparse=always", image, aside], check=True)
    _resize(disk, image, 0)
    try:
        yield
    finally:
        _resize(disk, image, size)
        with aside.open("rb") as old, image.open("r+b") as new:
            for start, end in written(old.fileno(), [(0, size)]):
                os.copy_file_range(old.fileno(), new.fileno(), end - start, start, start)
            os.fsync(new.fileno())
        aside.unlink()


def vanish(disk: Path) -> None:
    """Let all access to a disk fail from now on; what it held is lost."""
    _resize(disk, image_of(disk), 0)


def _resize(disk: Path, image: Path, size: int) -> None:
    os.truncate(image, size)
    subprocess.run(["losetup", "--set-capacity", disk], check=True)


def forget(file: Path) -> None:
    """Have what is read next of a file come from the disks."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
