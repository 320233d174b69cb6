"""Work of the kernel that lasts: a program asks for it and stays until it is done, while we do not wait.

The program has a session of its own, so that it outlives us. It dies with the machine, and may be killed; whoever
starts it must be able to tell from the filesystem what is left to do.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from qreplica.storage.btrfs_tools import failure, plain_environment
from qreplica.storage.errors import StorageCommandFailed

_PATIENCE, _POLL = 120.0, 0.02


def start(*arguments: str | Path, begun: Callable[[], bool], group: str) -> None:
    """Start the program, and return when its work has ``begun`` or it has ended well.

    Raises GroupFull or StorageCommandFailed when it fails before that, or does not begin.
    """
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
            cwd="/",
            env=plain_environment(),
        )
        waiter = threading.Thread(target=process.wait, name=f"waits for {command[0]}", daemon=True)
        waiter.start()
        deadline = time.monotonic() + _PATIENCE
        while waiter.is_alive() and not begun():
            if time.monotonic() > deadline:
                raise StorageCommandFailed(command=" ".join(command), reason=f"it did not begin in {_PATIENCE:.0f} s")
            waiter.join(_POLL)
        if not waiter.is_alive() and process.returncode != 0:
            said.seek(0)
            raise failure(command, said.read().decode(errors="replace"), process.returncode, group)
