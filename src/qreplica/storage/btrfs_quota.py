"""The quota groups of an RG: one of level 1 for each VD, which holds the VD and all its snapshots.

Its ``referenced`` counts every extent of any of them once, with the unreferenced rest of extents partly overwritten.

Where the kernel has simple quotas (Linux 6.7) they are used: an extent counts for whoever wrote it as long as anybody
holds it, and only live VDs write. Full quotas give the same sum, but look up all holders of each extent that a commit
touches, while every write to the RG waits: seconds for a VD in many pieces.
"""

import errno
import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage.btrfs_tools import SYSFS, filesystem, ioctl, run, subvolume
from qreplica.storage.errors import StorageCommandFailed

#: _IOWR(0x94, 40, struct btrfs_ioctl_quota_ctl_args) of linux/btrfs.h, and its command
_QUOTA_CONTROL, _ENABLE_SIMPLE = 0xC0109428, 4


def enable(mount: Path, group: str, *, empty: bool) -> None:
    """Switch quotas on; idempotent. ``empty``: no VD is there yet, so that simple ones miss none of what they count."""
    if empty:
        try:
            ioctl(mount, _QUOTA_CONTROL, bytearray(struct.pack("<QQ", _ENABLE_SIMPLE, 0)))
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel without them
                raise
    run("btrfs", "quota", "enable", mount, group=group)


def quota_group(vd: str) -> str:
    """Return the quota group of a VD: a number of 48 bits made from its id."""
    return f"1/{int.from_bytes(hashlib.sha256(vd.encode()).digest()[:6])}"


def create(mount: Path, vd: str, group: str) -> None:
    """Make the VD's quota group; idempotent."""
    if not _facts(mount, vd).is_dir():
        run("btrfs", "qgroup", "create", quota_group(vd), mount, group=group)


def restore(mount: Path, vd: str, subvolumes: Sequence[Path], group: str) -> None:
    """Make a VD's quota group anew, with its members, when it was lost because quotas were switched off meanwhile."""
    if _facts(mount, vd).is_dir():
        return
    create(mount, vd, group)
    for member in subvolumes:
        number = subvolume(member).number
        run("btrfs", "qgroup", "assign", "--no-rescan", f"0/{number}", quota_group(vd), mount, group=group)


def drop_unused(mount: Path, vds: Sequence[str]) -> None:
    """Remove the quota groups of VDs that are no more; one whose snapshots are still being freed stays for now."""
    used = {_facts(mount, vd).name for vd in vds}
    for facts in _root(mount).glob("1_*"):
        if facts.name not in used and _count(facts) <= 0:
            try:
                run("btrfs", "qgroup", "destroy", facts.name.replace("_", "/"), mount)
            except StorageCommandFailed as error:
                if os.strerror(errno.EBUSY) not in str(error.fields["reason"]):
                    raise


def referenced(mount: Path, vd: str, group: str, *, recount: bool = True) -> int:
    """Return the bytes that VD and snapshots use together, after a recount when the kernel lost count.

    A recount reads all that the RG's trees hold; without ``recount`` it is what was counted before. Raises
    StorageCommandFailed when the quota group is gone.
    """
    try:
        if recount and (_root(mount) / "inconsistent").read_text().strip() != "0":
            run("btrfs", "quota", "rescan", "-w", mount, group=group)
        return max(0, _count(_facts(mount, vd)))
    except FileNotFoundError as error:
        reason = "quotas were switched off; close the RAID group and open it again"
        raise StorageCommandFailed(command=f"read the quota of {vd}", reason=reason) from error


def _count(facts: Path) -> int:
    """Return what a group references; after a loss of power, full quotas may have counted down below zero."""
    count = int((facts / "referenced").read_text())
    return count - 2**64 if count >= 2**63 else count


def _root(mount: Path) -> Path:
    return SYSFS / filesystem(mount).id / "qgroups"


def _facts(mount: Path, vd: str) -> Path:
    return _root(mount) / quota_group(vd).replace("/", "_")
