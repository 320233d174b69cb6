"""The programs and ioctls of btrfs that the driver uses, with their failures in our words."""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qreplica.storage.btrfs_locks import held
from qreplica.storage.errors import GroupFull, StorageCommandFailed

#: One directory for each mounted filesystem (Linux: Documentation/ABI/testing/sysfs-fs-btrfs).
SYSFS = Path("/sys/fs/btrfs")

_PATIENCE = 600.0
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
#: _IOR(0x94, 60, struct btrfs_ioctl_get_subvol_info_args) of linux/btrfs.h
_GET_SUBVOL_INFO = 0x81F8943C
_SUBVOL_INFO_SIZE = 504
_UUID_AT, _PARENT_UUID_AT, _OTRANSID_AT, _OTIME_AT = 296, 312, 352, 392
#: _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args) of linux/btrfs.h
_FS_INFO = 0x8400941F
_FS_INFO_SIZE = 1024
#: Fields of it after the sizes of node, sector and clone alignment and the checksum; the flag that asks for the commit.
_FS_INFO_FLAGS_AT, _FS_INFO_GENERATION_AT, _FS_INFO_GENERATION = 48, 56, 2


def run(*arguments: str | Path, group: str = "") -> str:
    """Run a program and return its standard output. Raises GroupFull or StorageCommandFailed with what it said.

    It shares the locks that this thread holds, so that they are held until it ends.
    """
    command = [str(argument) for argument in arguments]
    environment = plain_environment()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env=environment,
            pass_fds=held(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageCommandFailed(command=" ".join(command), reason=error) from error
    if done.returncode == 0:
        return done.stdout
    raise failure(command, done.stderr, done.returncode, group)


def failure(command: Sequence[str], stderr: str, status: int, group: str) -> GroupFull | StorageCommandFailed:
    """Return the error for a program that ended with another status than 0."""
    said = " ".join(stderr.split()) or f"exit status {status}"
    if os.strerror(errno.ENOSPC) in said or os.strerror(errno.EDQUOT) in said:
        return GroupFull(group=group, operation=f"“{' '.join(command[:3])}”")
    return StorageCommandFailed(command=" ".join(command), reason=said)


def plain_environment() -> dict[str, str]:
    """Return the environment in which programs speak as we expect: English, and times in UTC."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Subvolume:
    """The number of a subvolume, and when it was made: the transaction (which orders them) and the time.

    ``id`` and, for a snapshot, that of the subvolume that it was ``made_from`` are UUIDs.
    """

    number: int
    transaction: int
    made_at: datetime
    id: bytes
    made_from: bytes


def subvolume(path: Path) -> Subvolume:
    """Return the facts of the subvolume at ``path``. Raises OSError when it is none."""
    data = ioctl(path, _GET_SUBVOL_INFO, bytearray(_SUBVOL_INFO_SIZE))
    (number,) = struct.unpack_from("<Q", data)
    (transaction,) = struct.unpack_from("<Q", data, _OTRANSID_AT)
    seconds, nanoseconds = struct.unpack_from("<QI", data, _OTIME_AT)
    made_at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
    own, parent = (bytes(data[at : at + 16]) for at in (_UUID_AT, _PARENT_UUID_AT))
    return Subvolume(number, transaction, made_at, own, parent)


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A mounted filesystem: its UUID, how many devices it was made of or grown to, and its last commit."""

    id: str
    devices: int
    generation: int


def filesystem(path: Path) -> Filesystem:
    """Return the facts of the btrfs filesystem mounted at ``path``. Raises OSError when there is none."""
    buffer = bytearray(_FS_INFO_SIZE)
    struct.pack_into("<Q", buffer, _FS_INFO_FLAGS_AT, _FS_INFO_GENERATION)
    data = ioctl(path, _FS_INFO, buffer)
    (devices,) = struct.unpack_from("<Q", data, 8)
    (generation,) = struct.unpack_from("<Q", data, _FS_INFO_GENERATION_AT)
    return Filesystem(str(uuid.UUID(bytes=bytes(data[16:32]))), devices, generation)


def ioctl(path: Path, request: int, buffer: bytearray) -> bytearray:
    """Ask the filesystem at ``path``; returns ``buffer`` as the kernel left it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, request, buffer)
    finally:
        os.close(fd)
    return buffer


def exchange(one: Path, other: Path) -> None:
    """Swap two directory entries atomically (renameat2(2) with RENAME_EXCHANGE); subvolumes too."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def in_our_words(group: str, operation: str) -> Iterator[None]:
    """Raise GroupFull or StorageCommandFailed in place of an OSError of ``operation`` on the RG's files."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GroupFull(group=group, operation=operation) from error
        raise StorageCommandFailed(command=operation, reason=error) from error
