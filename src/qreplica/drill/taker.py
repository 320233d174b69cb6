"""A host that takes over: waits for its disk on the target, reads a block of it and writes it back.

It runs inside the host's namespace (``python -m qreplica.drill.taker``) with one request as JSON on standard input, and
prints when its first write was durable (seconds of CLOCK_MONOTONIC).
"""

import contextlib
import sys
import time

from pydantic import BaseModel

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Portal, Session
from qreplica.lab.host import INITIATOR
from qreplica.storage.driver import BLOCK

_LUN = 1
_RETRY, _GIVEN_UP = 0.05, 60.0


class Request(BaseModel):
    """Where the disk will be: it is looked for by each portal in turn until it is there."""

    portals: list[str]
    node: str


def take_over(request: Request) -> float:
    """Return when the first write was durable. Raises what the last look for the disk raised."""
    deadline = time.monotonic() + _GIVEN_UP
    while True:
        for address in request.portals:
            try:
                with contextlib.closing(_Disk(address, request.node)) as disk:
                    return disk.write()
            except QReplicaError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(_RETRY)


class _Disk:
    def __init__(self, address: str, node: str) -> None:
        self._session = Session.connect(Portal(address), node, INITIATOR, timeout=3.0)

    def write(self) -> float:
        self._session.capacity(_LUN)
        self._session.write(_LUN, 0, self._session.read(_LUN, 0, BLOCK))
        self._session.flush(_LUN)
        return time.monotonic()

    def close(self) -> None:
        self._session.logout()


if __name__ == "__main__":
    print(take_over(Request.model_validate_json(sys.stdin.readline())), flush=True)
