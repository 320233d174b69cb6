"""Runs ``btrfs send --no-data`` between two snapshots of a VD and reads what it says."""

import subprocess
import threading
from pathlib import Path
from typing import IO, cast

from qreplica.storage.errors import DeltaStreamBroken
from qreplica.storage.extents import Range
from qreplica.storage.send_stream import read_changes

#: Large reads from the pipe; a change takes some 70 bytes.
_BUFFER = 1 << 18


def changes(base: Path, new: Path) -> list[Range]:
    """Return what changed in the file ``new`` since ``base``; each is the only file of a read-only subvolume.

    Raises DeltaStreamBroken, with what the program said, and DeltaStreamUnknown.
    """
    command = ["btrfs", "send", "--quiet", "--no-data", "-p", str(base.parent), str(new.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=_BUFFER) as process:
        errors: list[bytes] = []
        said = cast("IO[bytes]", process.stderr)
        reader = threading.Thread(target=lambda: errors.append(said.read()))
        reader.start()
        try:
            found = read_changes(cast("IO[bytes]", process.stdout), new.name.encode())
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
