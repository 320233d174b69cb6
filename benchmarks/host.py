"""A host inside the lab's namespace that writes to its disks over iSCSI while the bench measures.

It runs as a process of its own (``python -m benchmarks.host``) and serves one JSON request a line on standard input.
"""

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from qreplica.iscsi.initiator import Buffer, Portal, Session
from qreplica.lab.commands import inside
from qreplica.lab.host import INITIATOR
from qreplica.storage.driver import BLOCK
from qreplica.units import KIB

_DEPTH = 32
_PATIENCE = 60.0
_PIECE = 256 * KIB


@dataclass(frozen=True, slots=True)
class Host:
    """The bench's end of it."""

    requests: IO[str]
    answers: IO[str]

    def fill(self, lun: int, size: int) -> None:
        """Write random bytes all over a LUN."""
        self._ask(verb="fill", lun=lun, size=size)

    def scatter(self, lun: int, blocks: Iterable[int]) -> None:
        """Write random bytes to blocks of 4 KiB of a LUN, given by number, and flush."""
        self._ask(verb="scatter", lun=lun, blocks=list(blocks))

    def overwrite(self, lun: int, size: int, *, in_order: bool) -> None:
        """Write as many bytes as a LUN has in pieces of 4 to 64 KiB, one after the other or anywhere, and flush."""
        self._ask(verb="overwrite", lun=lun, size=size, in_order=in_order)

    def begin_watching(self, lun: int, size: int) -> None:
        """Have it write all the while, at random, until ``watched``."""
        self._send(verb="watch", lun=lun, size=size)

    def watched(self) -> list[tuple[float, float]]:
        """Stop writing; return when each write was sent and when it was answered (CLOCK_MONOTONIC)."""
        self._send(verb="stop")
        return [(sent, answered) for sent, answered in self._answer()["writes"]]

    def _ask(self, **request: object) -> dict[str, Any]:
        self._send(**request)
        return self._answer()

    def _send(self, **request: object) -> None:
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise EOFError("the host's process has ended: its complaint is above")
        return dict(json.loads(line))


@contextmanager
def host(namespace: str, address: str, node: str) -> Iterator[Host]:
    """Run a host in a network namespace, which uses the node, for the length of a block."""
    argv = inside(namespace, sys.executable, "-m", "benchmarks.host", address, node)
    root = Path(__file__).parent.parent
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            yield Host(cast("IO[str]", process.stdin), cast("IO[str]", process.stdout))
        finally:
            process.terminate()


class _Writer:
    """Keeps writes in flight on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._buffers = [Buffer(_PIECE) for _ in range(_DEPTH)]
        self._free = list(range(_DEPTH))
        self._sent: dict[int, float] = {}
        self.writes: list[tuple[float, float]] = []
        for buffer in self._buffers:
            buffer.view[:] = os.urandom(_PIECE)

    def write(self, lun: int, offset: int, length: int, depth: int = _DEPTH) -> None:
        while len(self._free) <= _DEPTH - depth:
            self._take()
        slot = self._free.pop()
        buffer = self._buffers[slot]
        buffer.view[:length] = os.urandom(length)
        self._sent[slot] = time.monotonic()
        self._session.submit_write(slot, lun, offset, buffer, length)

    def drain(self) -> None:
        while self._sent:
            self._take()

    def _take(self) -> None:
        for slot, error in self._session.poll(_PATIENCE):
            if error is not None:
                raise error
            self.writes.append((self._sent.pop(slot), time.monotonic()))
            self._free.append(slot)


def _serve(address: str, node: str) -> None:
    for line in sys.stdin:
        # A session for each request: in between nobody would answer the target's questions whether it still lives.
        with Session.connect(Portal(address), node, INITIATOR) as session:
            answer = _perform(session, json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _perform(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    writer, lun = _Writer(session), request["lun"]
    if request["verb"] == "fill":
        for offset in range(0, request["size"], _PIECE):
            writer.write(lun, offset, min(_PIECE, request["size"] - offset))
    elif request["verb"] == "scatter":
        for block in request["blocks"]:
            writer.write(lun, block * BLOCK, BLOCK)
    elif request["verb"] == "overwrite":
        _overwrite(writer, lun, request["size"], in_order=request["in_order"])
    else:
        _write_until_told(writer, lun, request["size"])
    writer.drain()
    session.flush(lun)
    return {"writes": writer.writes if request["verb"] == "watch" else []}


def _overwrite(writer: _Writer, lun: int, size: int, *, in_order: bool) -> None:
    done = 0
    while done < size:
        length = min(_any_length(), size - done)
        at = done if in_order else random.randrange(0, size - length + 1, BLOCK)  # noqa: S311 - no secret
        writer.write(lun, at, length, depth=8)
        done += length


def _any_length() -> int:
    return BLOCK * random.randint(1, 16)  # noqa: S311 - no secret


def _write_until_told(writer: _Writer, lun: int, size: int) -> None:
    """Write 4 to 64 KiB at random places, a few at a time, until the next line arrives."""
    while not select.select([sys.stdin], [], [], 0)[0]:
        length = _any_length()
        at = random.randrange(0, size - length, BLOCK)  # noqa: S311 - no secret
        writer.write(lun, at, length, depth=4)
    sys.stdin.readline()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
