"""A real ext4 filesystem for a lab's host: filled with files of this machine, later changed by the real kernel."""

import contextlib
import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qreplica.lab.commands import run
from qreplica.lab.errors import TreeTooSmall
from qreplica.units import MIB

#: Where files are taken from, in this order.
ROOTS = (Path("/usr"), Path("/opt"), Path(sys.prefix))
#: A file whose content is written anew, and looked at in the copy.
KNOWN_FILE = "changed-by-the-demo.txt"

_EVERY_CHANGED = 29
_EVERY_DELETED = 11
_ADDED = 24
_ADDED_SIZE = MIB
_OVERWRITTEN = 8192
_LEAST = 8 * MIB
_PATIENCE = 600


@dataclass(frozen=True, slots=True)
class Changes:
    """What was done to a filesystem: numbers of files, and the content that the known file then had."""

    changed: int
    deleted: int
    added: int
    known_content: bytes


def collect(tree: Path, wanted: int, roots: tuple[Path, ...] = ROOTS) -> int:
    """Copy files of this machine until they hold ``wanted`` bytes; return how many they hold.

    The order is always the same; where there are not enough, they are copied once more. Raises TreeTooSmall.
    """
    found = 0
    for number in itertools.count(1):
        before = found
        for file in _files(roots):
            if found >= wanted:
                return found
            copy = tree / f"copy-{number}" / file.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # it may go while we look
                shutil.copy2(file, copy)
                found += copy.stat().st_size
        if found - before < _LEAST:
            break
    raise TreeTooSmall(found=found, wanted=wanted, roots=" and ".join(map(str, roots)))


def make(image: Path, size: int, tree: Path) -> None:
    """Make an image of ``size`` bytes with an ext4 filesystem that holds ``tree``."""
    (tree / KNOWN_FILE).write_bytes(b"as it was at first\n")
    with image.open("xb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-d", str(tree), str(image)], timeout=_PATIENCE)


def change(image: Path, point: Path) -> Changes:
    """Change, delete and add files in the image's filesystem, which is mounted at ``point`` meanwhile.

    What is free then is discarded: it becomes holes of the image.
    """
    point.mkdir()
    run(["mount", "-o", "loop", str(image), str(point)])
    try:
        changes = _change_files(point)
        run(["fstrim", str(point)], timeout=_PATIENCE)
    finally:
        run(["umount", str(point)], timeout=_PATIENCE)
        point.rmdir()
    return changes


def check(image: Path) -> None:
    """Let e2fsck look at every structure. Raises CommandFailed with what it complains of."""
    run(["e2fsck", "-f", "-n", str(image)], timeout=_PATIENCE)


def content(image: Path, name: str) -> bytes:
    """Return the content of a file of the image, read without mounting it."""
    return run(["debugfs", "-R", f"cat /{name}", str(image)]).encode()


def digest(image: Path) -> str:
    """Return the SHA-256 of a whole image."""
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        for place, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                file = Path(place, name)
                if file.is_file() and not file.is_symlink():
                    yield file


def _change_files(point: Path) -> Changes:
    files = sorted(file for file in point.rglob("*") if file.is_file() and file.stat().st_size)
    changed = files[1::_EVERY_CHANGED]
    deleted = set(files[::_EVERY_DELETED]).difference(changed, [point / KNOWN_FILE])
    for number, file in enumerate(changed):
        with file.open("r+b") as opened:
            opened.write(_noise(f"changed {number}", min(file.stat().st_size, _OVERWRITTEN)))
    for number in range(_ADDED):
        (point / f"added-{number}.bin").write_bytes(_noise(f"added {number}", _ADDED_SIZE))
    known = f"{len(changed)} files changed, {len(deleted)} deleted, {_ADDED} added\n".encode()
    (point / KNOWN_FILE).write_bytes(known)
    _sync(point)  # blocks are given to what was added before any come free, so that there is something to discard
    for file in deleted:
        file.unlink()
    _sync(point)  # ext4 frees blocks with the journal's commit
    return Changes(len(changed), len(deleted), _ADDED, known)


def _sync(point: Path) -> None:
    run(["sync", "--file-system", str(point)], timeout=_PATIENCE)


def _noise(seed: str, length: int) -> bytes:
    """Return bytes that look random and are the same every time."""
    return hashlib.shake_128(seed.encode()).digest(length)
