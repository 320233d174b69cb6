"""Runs ``btrfs send --no-data`` between two snapshots of a VD and reads what it says."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from qreplica.storage.errors import DeltaStreamBroken
from qreplica.storage.extents import Range
from qreplica.storage.send_stream import read_changes
from qreplica.units import MIB

#: Large reads from the pipe; a change takes some 70 bytes.
_BUFFER = 1 << 18
#: So much of what changed is read at once, which goes on while the kernel still looks for more (bytes).
_READ_SOON = 64 * MIB


class ReadSoon:
    """Has the kernel read the first of the changed ranges of a file, which are wanted next."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._left = _READ_SOON

    def __call__(self, changed: Range) -> None:
        """Have the range read if that is not too much; returns at once."""
        start, end = changed
        if start < end <= self._size and end - start <= self._left:
            self._left -= end - start
            os.posix_fadvise(self._fd, start, end - start, os.POSIX_FADV_WILLNEED)


def changes(base: Path, new: Path, on_change: Callable[[Range], None] | None = None) -> list[Range]:
    """Return what changed in the file ``new`` since ``base``; each is the only file of a read-only subvolume.

    ``on_change`` is told each range as soon as it is known. Raises DeltaStreamBroken, with what the program said, and
    DeltaStreamUnknown.
    """
    command = ["btrfs", "send", "--quiet", "--no-data", "-p", str(base.parent), str(new.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=_BUFFER) as process:
        errors: list[bytes] = []
        said = cast("IO[bytes]", process.stderr)
        reader = threading.Thread(target=lambda: errors.append(said.read()))
        reader.start()
        try:
            found = read_changes(cast("IO[bytes]", process.stdout), new.name.encode(), on_change)
        except DeltaStreamBroken as error:
            process.kill()
            reader.join()
            raise DeltaStreamBroken(reason=f"{error.fields['reason']} {_words(errors)}".strip()) from error
        except BaseException:
            process.kill()
            raise
        finally:
            reader.join()
    if process.returncode != 0:
        raise DeltaStreamBroken(reason=f"btrfs send ended with status {process.returncode} {_words(errors)}".strip())
    return found


def _words(output: list[bytes]) -> str:
    return " ".join(b" ".join(output).decode(errors="replace").split())
