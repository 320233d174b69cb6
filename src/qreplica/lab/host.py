"""The lab's host: uses disks over iSCSI as any initiator would. Runs inside the host's namespace.

One request as JSON on standard input, which is where the CHAP secret stays out of argument lists; one answer as JSON on
standard output, or a sentence on standard error and an exit code.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Buffer, Chap, Portal, Session
from qreplica.lab.sparse import differences, written_ranges
from qreplica.units import KIB

INITIATOR = "iqn.2026-11.org.qreplica.lab:host"
_PIECE = 256 * KIB
_DEPTH = 32
_PATIENCE = 60.0


class Request(BaseModel):
    """What to do with a LUN: ``image`` is written, or read into; ``older`` is what the LUN holds before changes."""

    verb: Literal["write-image", "apply-changes", "read-back"]
    address: str
    port: int = 3260
    node: str
    chap_user: str
    chap_secret: str
    lun: int = 1
    image: Path
    older: Path | None = None


class Done(BaseModel):
    """What was done: bytes written (or read), bytes unmapped, and how long it took with the final flush."""

    bytes: int
    unmapped_bytes: int
    seconds: float


class Pump:
    """Keeps many commands to one LUN in flight, each with a piece of an image file."""

    def __init__(self, session: Session, lun: int, image: int) -> None:
        self._session = session
        self._lun = lun
        self._image = image
        self._buffers = [Buffer(_PIECE) for _ in range(_DEPTH)]
        self._free = list(range(_DEPTH))
        self._reading: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        while kind is None and len(self._free) < _DEPTH:
            self._await_some()

    def write(self, offset: int, length: int) -> None:
        """Write a range of the image to the LUN."""
        for at, size in _pieces(offset, length):
            slot = self._slot()
            buffer = self._buffers[slot]
            got = os.preadv(self._image, [buffer.view[:size]], at)
            if got != size:
                raise EOFError(f"the image ends at {at + got}")
            self._session.submit_write(slot, self._lun, at, buffer, size)

    def read(self, offset: int, length: int) -> None:
        """Read a range of the LUN into the image; zeros stay holes."""
        for at, size in _pieces(offset, length):
            slot = self._slot()
            self._reading[slot] = (at, size)
            self._session.submit_read(slot, self._lun, at, self._buffers[slot], size)

    def _slot(self) -> int:
        while not self._free:
            self._await_some()
        return self._free.pop()

    def _await_some(self) -> None:
        for completion in self._session.poll(_PATIENCE):
            if completion.error is not None:
                raise completion.error
            if completion.tag in self._reading:
                self._save(completion.tag)
            self._free.append(completion.tag)

    def _save(self, slot: int) -> None:
        at, size = self._reading.pop(slot)
        if not self._buffers[slot].is_zero(0, size):
            os.pwritev(self._image, [self._buffers[slot].view[:size]], at)


def perform(request: Request) -> Done:
    """Do what is asked, and flush what was written."""
    portal, chap = Portal(request.address, request.port), Chap(request.chap_user, request.chap_secret)
    with Session.connect(portal, request.node, INITIATOR, chap=chap) as session:
        started = time.monotonic()
        moved, unmapped = _VERBS[request.verb](session, request)
        return Done(bytes=moved, unmapped_bytes=unmapped, seconds=time.monotonic() - started)


def _write_image(session: Session, request: Request) -> tuple[int, int]:
    with request.image.open("rb") as file:
        ranges = written_ranges(file.fileno())
        with Pump(session, request.lun, file.fileno()) as pump:
            for start, end in ranges:
                pump.write(start, end - start)
    session.flush(request.lun)
    return sum(end - start for start, end in ranges), 0


def _apply_changes(session: Session, request: Request) -> tuple[int, int]:
    if request.older is None:
        raise ValueError("changes are changes to something older")
    moved = unmapped = 0
    with request.image.open("rb") as newer, request.older.open("rb") as older:
        with Pump(session, request.lun, newer.fileno()) as pump:
            holes = []
            for difference in differences(older.fileno(), newer.fileno()):
                if difference.hole:
                    holes.append((difference.offset, difference.length))
                    unmapped += difference.length
                else:
                    pump.write(difference.offset, difference.length)
                    moved += difference.length
        session.unmap(request.lun, holes)
    session.flush(request.lun)
    return moved, unmapped


def _read_back(session: Session, request: Request) -> tuple[int, int]:
    size = session.capacity(request.lun).size
    with request.image.open("xb") as file:
        file.truncate(size)
        with Pump(session, request.lun, file.fileno()) as pump:
            pump.read(0, size)
    return size, 0


_VERBS: dict[str, Callable[[Session, Request], tuple[int, int]]] = {
    "write-image": _write_image,
    "apply-changes": _apply_changes,
    "read-back": _read_back,
}


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, _PIECE):
        yield at, min(_PIECE, offset + length - at)


def main() -> None:
    """Serve the one request on standard input."""
    try:
        done = perform(Request.model_validate_json(sys.stdin.read()))
    except QReplicaError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(error.exit_code)
    print(done.model_dump_json())


if __name__ == "__main__":
    main()
