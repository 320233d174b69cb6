"""Disks whose power can be cut: what was flushed is there afterwards, and of the rest whatever chance wrote out.

All disks of a test are regions of one file, the platter, so that one FICLONE (ioctl_ficlonerange(2), atomic against
writes under the inode's lock) is the instant of the cut for all of them. A disk is made of two loop devices::

    platter file ← media (direct I/O) ← page cache of the media's block device ← disk (buffered)

The page cache in the middle plays the volatile write cache of a real disk: a write that has completed is only there,
and a FLUSH or FUA of the disk becomes an fsync of the media, which brings it onto the platter. At a cut some of the
cache is written out by chance, and the rest is lost. A disk ``with_cache=False`` has none: completed is on the platter.

The platter lies on a btrfs of its own (for FICLONE) without checksums (for direct I/O), and that one in memory.
"""

import contextlib
import ctypes
import fcntl
import os
import random
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from qreplica.units import GIB, KIB

from ..daemon.running import eventually  # noqa: TID252 - the daemon's own tests'

_FICLONE = 0x40049409  # linux/fs.h
_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2)
_STRIPE = 64 * KIB
#: How much of a cache gets out at a cut: nothing, some, nearly or really everything.
_SHARES = (0.0, 0.02, 0.3, 0.7, 0.98, 1.0)
_OUTER = 64 * GIB

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr or done.stdout}"
    return done.stdout.strip()


def _backing(device: str) -> Path | None:
    """Return what a loop device stands for, None when it is free."""
    try:
        return Path((Path("/sys/block") / Path(device).name / "loop/backing_file").read_text().rstrip("\n"))
    except FileNotFoundError:
        return None


@dataclass
class PowerDisk:
    """A region of a platter that can be attached as a block device; ``link`` always leads to it.

    ``file`` is the platter, or the copy, that it is attached over; None while it is not.
    """

    link: Path
    offset: int
    size: int
    with_cache: bool
    file: Path | None = None
    _media: str | None = None
    _device: str | None = None

    @property
    def _node(self) -> Path:
        return self.link.with_name(f"{self.link.name}.media")

    def attach(self, platter: Path) -> None:
        """Put the disk into operation over the file, with an empty cache."""
        self.file = platter
        region = ("--offset", str(self.offset), "--sizelimit", str(self.size))
        self._media = run("losetup", "--find", "--show", "--direct-io=on", *region, platter)
        # A node of our own: by the name of what a loop device stands for, a sweep knows that it is ours.
        node = self._node
        node.unlink(missing_ok=True)
        os.mknod(node, stat.S_IFBLK | 0o600, Path(self._media).stat().st_rdev)
        direct = "off" if self.with_cache else "on"
        self._device = run("losetup", "--find", "--show", f"--direct-io={direct}", node)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self._device)

    def detach(self) -> None:
        """Take it out of operation; what its cache holds comes onto the platter. Idempotent."""
        if self._device is not None:
            # What the kernel knows of a btrfs on it must not be mixed up with a copy attached later.
            subprocess.run(["btrfs", "device", "scan", "--forget", self._device], check=False, capture_output=True)
        for device, stands_for in ((self._device, self._node), (self._media, self.file)):
            # By its name alone it could be somebody else's by now.
            if device is not None and stands_for is not None and _backing(device) == stands_for:
                run("losetup", "--detach", device)
        self._device = self._media = self.file = None

    def write_out_some(self, chance: random.Random) -> None:
        """Begin to write out a random share of the cache."""
        share = chance.choice(_SHARES)
        if self._media is None or not self.with_cache or not share:
            return
        fd = os.open(self._media, os.O_RDWR | os.O_CLOEXEC)
        try:
            for at in range(0, self.size, _STRIPE):
                if chance.random() < share:
                    _libc.sync_file_range(fd, at, _STRIPE, _SYNC_FILE_RANGE_WRITE)
        finally:
            os.close(fd)


@dataclass
class Platter:
    """The file, and the disks on it."""

    place: Path
    file: Path
    _end: int = 0
    _copies: int = 0
    _disks: list[PowerDisk] = field(default_factory=list)

    @classmethod
    def make(cls, place: Path) -> Self:
        """Make an empty one below the directory ``place``."""
        memory, outer = place / "memory", place / "outer"
        for directory in (memory, outer):
            directory.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", "size=8G,mode=700", "qreplica-test", memory)
        image = memory / "image"
        with image.open("xb") as file:
            file.truncate(_OUTER)
        run("mkfs.btrfs", "--quiet", "--data", "single", "--metadata", "single", image)
        run("mount", "-o", "loop,nodatacow,noatime", image, outer)
        made = cls(place, outer / "platter")
        made.file.touch()
        return made

    def disk(self, link: Path, size: int, *, with_cache: bool) -> PowerDisk:
        """Lay out a disk, which is not attached yet."""
        made = PowerDisk(link, self._end, size, with_cache)
        self._end += size
        os.truncate(self.file, self._end)
        self._disks.append(made)
        return made

    def cut(self, disks: Sequence[PowerDisk], chance: random.Random) -> Path:
        """Return a copy of the disks' file as a power cut at this instant would leave it; the disks go on."""
        (file,) = {disk.file for disk in disks if disk.file is not None}
        for disk in disks:
            disk.write_out_some(chance)
        self._copies += 1
        copy = self.file.with_name(f"copy-{self._copies}")
        with file.open("rb") as source, copy.open("xb") as target:
            fcntl.ioctl(target, _FICLONE, source.fileno())
        return copy

    def close(self) -> None:
        """Take everything away."""
        for disk in self._disks:
            with contextlib.suppress(AssertionError):  # what remains is found by the sweep
                disk.detach()
        for name in ("outer", "memory"):
            # A loop device is let go of when its last user is, which may be the kernel or a prober.
            eventually(lambda name=name: subprocess.run(["umount", self.place / name], check=False).returncode == 0)
