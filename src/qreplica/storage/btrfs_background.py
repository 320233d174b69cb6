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
from qreplica.storage.errors import GroupFull, StorageCommandFailed

_PATIENCE, _POLL = 120.0, 0.02

#: Told when work that had begun ended badly, from a thread of its own.
Told = Callable[[GroupFull | StorageCommandFailed], None]


def start(*arguments: str | Path, begun: Callable[[], bool], group: str, failed: Told | None = None) -> None:
    """Start the program, and return when its work has ``begun`` or it has ended well.

    Raises GroupFull or StorageCommandFailed when it fails before that, or does not begin. What fails later is told to
    ``failed``, if we live to see it.
    """
    program = _Program([str(argument) for argument in arguments], group, failed)
    deadline = time.monotonic() + _PATIENCE
    while not program.ended.is_set() and not begun():
        if time.monotonic() > deadline:
            reason = f"it did not begin in {_PATIENCE:.0f} s"
            raise StorageCommandFailed(command=" ".join(program.command), reason=reason)
        program.ended.wait(_POLL)
    program.let_go()


class _Program:
    """A program that runs, and the thread that waits for its end."""

    def __init__(self, command: list[str], group: str, failed: Told | None) -> None:
        self.command = command
        self.ended = threading.Event()
        self._group, self._failed = group, failed
        self._handing_over = threading.Lock()
        self._let_go = False
        self._error: GroupFull | StorageCommandFailed | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
            cwd="/",
            env=plain_environment(),
        )
        threading.Thread(target=self._wait, name=f"waits for {command[0]}", daemon=True).start()

    def _wait(self) -> None:
        with self._said:
            status = self._process.wait()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace")
        with self._handing_over:
            if status != 0:
                self._error = failure(self.command, said, status, self._group)
            self.ended.set()
            tell = self._error is not None and self._let_go
        if tell and self._failed is not None and self._error is not None:
            self._failed(self._error)

    def let_go(self) -> None:
        """Have failures told from now on. Raises the one that there was."""
        with self._handing_over:
            self._let_go = True
            if self._error is not None:
                raise self._error
