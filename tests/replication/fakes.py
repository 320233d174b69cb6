"""A LUN that forgets what was not flushed, and a session with it that completes commands in any order."""

import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import CommandFailed, SessionLost
from qreplica.iscsi.initiator import Buffer, Capacity, Completion, Designator
from qreplica.iscsi.target.driver import scsi_id_for
from qreplica.units import GIB, MIB


def lost() -> SessionLost:
    return SessionLost(node="iqn.x", portal="192.0.2.1:3260", reason="the test says so")


def refused(operation: str = "WRITE") -> CommandFailed:
    return CommandFailed(operation=operation, lun=1, node="iqn.x", portal="192.0.2.1:3260", sense="medium error")


class FakeDisk:
    """A file with a volatile cache before it. Only what a flush covered survives ``lose_power``."""

    def __init__(self, file: Path, serial: str = "S1") -> None:
        self.file = file
        self.serial = serial
        self.cache: list[tuple[int, bytes | int]] = []

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    def write(self, offset: int, data: bytes | int) -> None:
        """Keep data, or a number of zeros."""
        self.cache.append((offset, data))

    def flush(self, count: int) -> None:
        """Make the first ``count`` writes of the cache durable."""
        with self.file.open("r+b") as out:
            for offset, data in self.cache[:count]:
                out.seek(offset)
                out.write(data if isinstance(data, bytes) else bytes(data))
        del self.cache[:count]

    def lose_power(self, chance: random.Random | None = None) -> None:
        """Forget the cache, or, with ``chance``, let some of it have reached the disk, in any order."""
        if chance is not None:
            self.cache = [one for one in self.cache if chance.random() < 0.5]
            chance.shuffle(self.cache)
            self.flush(len(self.cache))
        self.cache.clear()

    def content(self) -> bytes:
        """Return what a reader sees: the cache counts."""
        content = bytearray(self.file.read_bytes())
        for offset, data in self.cache:
            piece = data if isinstance(data, bytes) else bytes(data)
            content[offset : offset + len(piece)] = piece
        return bytes(content)


class AtOnce(Executor):
    """Does what it is given when it is given it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result is to raise it
            future.set_exception(error)
        return future


@dataclass
class Sent:
    """A command as it was submitted."""

    kind: str
    tag: int
    offset: int = 0
    length: int = 0
    buffer: Buffer | None = None
    covers: int = 0


@dataclass
class FakeSession:
    """Completes commands as ``chance`` has it. ``before`` is asked at each submission and poll, and may raise.

    A write takes its data from the buffer when it completes, so that a buffer used too early shows. A flush covers the
    writes that had completed when it was submitted.
    """

    disk: FakeDisk
    chance: random.Random
    before: Callable[[str], None] = lambda _: None
    fails: Callable[[Sent], QReplicaError | None] = lambda _: None
    depth: int = 112
    sent: list[Sent] = field(default_factory=list)
    in_flight: list[Sent] = field(default_factory=list)
    most_in_flight: int = 0
    ended: bool = False
    zeros_are_data: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True

    def serial(self, lun: int) -> str:
        assert lun == 1
        return self.disk.serial

    def identification(self, lun: int) -> list[Designator]:
        assert lun == 1
        return [Designator(1, 0, scsi_id_for("QREPLICA", self.disk.serial)), Designator(3, 1, "port")]

    def capacity(self, lun: int) -> Capacity:
        assert lun == 1
        return Capacity(self.disk.size // 512, 512, thin=True)

    def most_transfer(self, lun: int) -> int:
        assert lun == 1
        return 16 * MIB

    def most_zeros(self, lun: int) -> int:
        assert lun == 1
        return GIB

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        assert lun == 1
        assert offset + length <= self.disk.size
        self.before("zeros beyond")
        self.disk.write(offset, length)

    def submit_write(  # noqa: PLR0917 - Session's signature
        self, tag: int, lun: int, offset: int, buffer: Buffer, length: int, start: int = 0
    ) -> None:
        assert start == 0
        assert offset % 512 == length % 512 == 0
        self._submit(lun, Sent("write", tag, offset, length, buffer))

    def submit_zeros(self, tag: int, lun: int, offset: int, length: int) -> None:
        assert length <= GIB
        self._submit(lun, Sent("zeros", tag, offset, length))

    def submit_flush(self, tag: int, lun: int) -> None:
        self._submit(lun, Sent("flush", tag, covers=len(self.disk.cache)))

    def _submit(self, lun: int, command: Sent) -> None:
        assert not self.ended
        assert lun == 1
        assert command.tag not in {one.tag for one in self.in_flight}
        assert command.offset + command.length <= self.disk.size
        buffers = [one.buffer for one in self.in_flight if one.buffer is not None]
        assert command.buffer is None or all(command.buffer is not one for one in buffers), "a buffer is in use"
        self.before(command.kind)
        self.sent.append(command)
        self.in_flight.append(command)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))

    def poll(self, timeout: float) -> list[Completion]:
        assert not self.ended
        assert timeout > 0
        self.before("poll")
        completions = []
        for _ in range(self.chance.randint(0, len(self.in_flight))):
            command = self.in_flight.pop(self.chance.randrange(len(self.in_flight)))
            error = self.fails(command)
            if error is None:
                self._execute(command)
            completions.append(Completion(command.tag, error))
        return completions

    def _execute(self, command: Sent) -> None:
        if command.kind == "flush":
            self.disk.flush(command.covers)
            # What another flush in flight covered is counted from the front of the cache.
            for other in self.in_flight:
                other.covers = max(0, other.covers - command.covers)
        elif command.buffer is not None:
            self.disk.write(command.offset, bytes(command.buffer.view[: command.length]))
        else:
            self.disk.write(command.offset, command.length)

    def written(self) -> list[Sent]:
        return [one for one in self.sent if one.kind != "flush"]
