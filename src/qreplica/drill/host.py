"""The host of a drill: fills its disk, then writes a checked pattern without pause until it is told to stop.

It runs inside the host's namespace (``python -m qreplica.drill.host``). One request as JSON on the first line of its
standard input; the line “filled” when the pattern begins; the end of standard input stops it, and its findings are the
last line. It uses its disk by whichever portal answers, as multipath software does: what was under way when a session
is lost is sent again on the next one. When it may only read its disk any more, or that is gone, it moves to where it is
told that the copy will be, says so in a line with the time of its first durable write there (seconds of
CLOCK_MONOTONIC), and goes on: what it had flushed must be there.
"""

import os
import random
import select
import sys
import time

from pydantic import BaseModel

from qreplica.drill.pattern import block_of, sequence_of
from qreplica.errors import QReplicaError, RemoteFailed
from qreplica.iscsi.errors import LunMissing, SessionLost, WriteProtected
from qreplica.iscsi.initiator import Buffer, KeepAlive, Portal, Session
from qreplica.lab.host import INITIATOR
from qreplica.storage.driver import BLOCK
from qreplica.units import KIB

_LUN = 1
_PIECE, _DEPTH = 256 * KIB, 32
_BLOCKS_A_FLUSH = 16
_RETRY = 0.2
_GIVEN_UP = 120.0
#: A path that is silent for so long is left.
_PATIENCE = KeepAlive(interval=1.0, intervals=4)


class Place(BaseModel):
    """Where a disk is: a node, by any of the portals."""

    portals: list[str]
    node: str


class Request(Place):
    """Fill ``fill`` bytes from the disk's beginning; then write to the ``blocks`` of 4 KiB behind them."""

    fill: int
    blocks: int
    moves_to: Place | None = None


class Found(BaseModel):
    """Writes that were acknowledged and flushed; the longest time without one, in seconds; and what was wrong."""

    writes: int
    pause_seconds: float
    lost: int
    wrong: list[str]


class Host:
    """The disk, by one portal after the other."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._place: Place = request
        self._number = 0
        self._session = self._connect()

    def _connect(self) -> Session:
        deadline = time.monotonic() + _GIVEN_UP
        while True:
            address = self._place.portals[self._number % len(self._place.portals)]
            self._number += 1
            try:
                return Session.connect(Portal(address), self._place.node, INITIATOR, timeout=3.0, keep_alive=_PATIENCE)
            except RemoteFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY)

    def fill(self) -> None:
        """Write random bytes."""
        buffers = [Buffer(_PIECE) for _ in range(_DEPTH)]
        free = list(range(_DEPTH))
        for offset in range(0, self._request.fill, _PIECE):
            while not free:
                free += self._done()
            slot = free.pop()
            buffers[slot].view[:] = os.urandom(_PIECE)
            self._session.submit_write(slot, _LUN, offset, buffers[slot], _PIECE)
        while len(free) < _DEPTH:
            free += self._done()
        self._session.flush(_LUN)

    def _done(self) -> list[int]:
        done = self._session.poll(_GIVEN_UP)
        for _, error in done:
            if error is not None:
                raise error
        return [tag for tag, _ in done]

    def write(self) -> Found:
        """Write until standard input ends; then read everything back and tell what is there."""
        chance = random.Random()  # noqa: S311 - no secret
        first = self._request.fill // BLOCK
        promised = [0] * self._request.blocks
        sequence = writes = 0
        last, pause = time.monotonic(), 0.0
        while not select.select([sys.stdin], [], [], 0)[0]:
            chosen = chance.sample(range(self._request.blocks), _BLOCKS_A_FLUSH)
            sequence += 1
            contents = {number: block_of(first + number, sequence) for number in chosen}
            try:
                self._persist(contents, first)
            except (WriteProtected, LunMissing):
                if self._request.moves_to is None or self._place is self._request.moves_to:
                    raise
                self._move(contents, first)
            for number in chosen:
                promised[number] = sequence
            now = time.monotonic()
            writes, last, pause = writes + len(chosen), now, max(pause, now - last)
        lost, wrong = self._check(promised, first)
        self._session.logout()
        return Found(writes=writes, pause_seconds=round(pause, 3), lost=lost, wrong=wrong)

    def _persist(self, contents: dict[int, bytes], first: int) -> None:
        while True:
            try:
                for number, content in contents.items():
                    self._session.write(_LUN, (first + number) * BLOCK, content)
                self._session.flush(_LUN)
            except SessionLost:
                self._session.logout()
                self._session = self._connect()
            else:
                return

    def _move(self, contents: dict[int, bytes], first: int) -> None:
        """Go on where the copy is, as soon as it is there, with what could not be written any more."""
        self._session.logout()
        self._place = self._request.moves_to or self._place
        deadline = time.monotonic() + _GIVEN_UP
        while True:
            self._session = self._connect()
            try:
                self._persist(contents, first)
            except LunMissing:
                self._session.logout()
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY)
            else:
                print(time.monotonic(), flush=True)
                return

    def _check(self, promised: list[int], first: int) -> tuple[int, list[str]]:
        lost, wrong = 0, []
        for number, least in enumerate(promised):
            content = self._session.read(_LUN, (first + number) * BLOCK, BLOCK)
            try:
                lost += sequence_of(first + number, content) < least
            except ValueError as error:
                wrong.append(str(error))
        return lost, wrong


def main() -> None:
    """Serve the one request."""
    request = Request.model_validate_json(sys.stdin.readline())
    try:
        host = Host(request)
        host.fill()
        print("filled", flush=True)
        print(host.write().model_dump_json(), flush=True)
    except QReplicaError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
