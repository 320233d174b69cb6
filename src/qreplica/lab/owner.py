"""Who owns a directory with things that must not outlive it: a file ``owner`` with a pid and its start.

The start (field 22 of /proc/PID/stat, clock ticks since boot) tells a process from a later one with its pid. The
directory appears with its owner in one step; without the file it is kept until somebody asks for its removal.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FILE = "owner"
_START_TICKS = 19  # counted after the command's name, which may hold anything


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that may have ended."""

    pid: int
    ticks: int

    @classmethod
    def me(cls) -> Self:
        """Return this process."""
        return cls.of_process(os.getpid())

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Return the process that has the pid now."""
        return cls(pid, _started(pid) or 0)

    def write(self, directory: Path) -> None:
        """Have ``directory`` belong to it."""
        (directory / _FILE).write_text(f"{self.pid} {self.ticks}\n")

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """Return the owner of ``directory``; None when it is kept, or not there."""
        try:
            pid, ticks = (directory / _FILE).read_text().split()
            return cls(int(pid), int(ticks))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return cls._of_unfinished(directory)

    @classmethod
    def _of_unfinished(cls, directory: Path) -> Self | None:
        """Return who was making a directory and got no further than this one with a passing name."""
        words = directory.name.split(".")
        if len(words) == 4 and not words[0] and words[2].isdigit() and words[3].isdigit():  # noqa: PLR2004 - .name.pid.ticks
            return cls(int(words[2]), int(words[3]))
        return None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _started(self.pid) == self.ticks


def make_owned(directory: Path) -> None:
    """Make ``directory``, readable by its owner alone. Raises FileExistsError."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if directory.exists():
        raise FileExistsError(directory)
    me = Owner.me()
    unfinished = directory.with_name(f".{directory.name}.{me.pid}.{me.ticks}")
    unfinished.mkdir(mode=0o700)
    me.write(unfinished)
    unfinished.rename(directory)


def keep(directory: Path) -> None:
    """Let ``directory`` outlive its owner."""
    (directory / _FILE).unlink(missing_ok=True)


def hand_over(directory: Path) -> None:
    """Have ``directory`` belong to whoever started this process, unless that has ended: then it stays this one's.

    An orphan is given to process 1, which never ends, so that no sweep would ever remove what it was given.
    """
    if (parent := os.getppid()) != 1:
        Owner.of_process(parent).write(directory)


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    return _started(pid) is not None


def _started(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[_START_TICKS])
