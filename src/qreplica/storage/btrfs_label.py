"""The label of an RG's filesystem: it names the RG, and notes when disks were parted.

Two disks of a mirror that were each written while the other was away must never be mounted together: the kernel would
take the newer one for the later state of both. Every superblock carries the label, which can be read while nothing is
mounted. So whenever a disk goes missing, those that go on note in it a parting: the generation from which they did, and
a random number that no other disks can note. Once all disks are there and mended, the partings are forgotten.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage.btrfs_superblock import Superblock
from qreplica.storage.btrfs_tools import SYSFS, filesystem, run

_SEPARATOR = "~"
#: Only so many fit (BTRFS_LABEL_SIZE is 256 bytes).
_MOST = 8


def plain(group: str) -> str:
    """Return the label of a filesystem whose disks were never parted."""
    return f"qr-{group}"


def names(label: str | None, group: str) -> bool:
    """Tell whether a label is of the RG's filesystem."""
    return label is not None and label.partition(_SEPARATOR)[0] == plain(group)


def _partings(label: str) -> Sequence[str]:
    return label.split(_SEPARATOR)[1:]


def note_parting(group: str, place: Path, generation: int) -> None:
    """Note, durably, that the disks of the filesystem mounted at ``place`` go on without others from ``generation``."""
    kept = [*_partings(_present(place)), f"{generation:x}.{secrets.token_hex(4)}"][-_MOST:]
    run("btrfs", "filesystem", "label", place, _SEPARATOR.join([plain(group), *kept]), group=group)


def forget_partings(group: str, place: Path) -> None:
    """Forget the partings: all disks are there, with the same content. Idempotent."""
    if _partings(_present(place)):
        run("btrfs", "filesystem", "label", place, plain(group), group=group)


def _present(place: Path) -> str:
    return (SYSFS / filesystem(place).id / "label").read_text().strip()


def were_parted(newest: Superblock, other: Superblock) -> bool:
    """Tell whether two devices of a filesystem have each been written without the other.

    ``other``, which is not newer, was merely away if it knows no parting that ``newest`` does not, and was not written
    after the first that it does not know.
    """
    noted, known = _partings(newest.label), _partings(other.label)
    if any(parting not in noted for parting in known):
        return True
    unknown = [parting for parting in noted if parting not in known]
    return bool(unknown) and other.generation > int(unknown[0].partition(".")[0], 16)
