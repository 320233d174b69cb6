"""A host that takes over: waits for its disk on the target, reads a block of it and writes it back, and changes some.

It runs inside the host's namespace (``python -m qreplica.drill.taker``) with one request as JSON on standard input, and
prints when its first write was durable (seconds of CLOCK_MONOTONIC).
"""

import os
import random
import sys
import time

from qreplica.drill.host import Place
from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Portal, Session
from qreplica.lab.host import INITIATOR
from qreplica.storage.driver import BLOCK

_LUN = 1
_RETRY, _GIVEN_UP = 0.05, 60.0


class Request(Place):
    """Where the disk will be, and how many blocks of it, at random, are to be changed in the end."""

    changes: int = 0


def take_over(place: Request) -> float:
    """Return when the first write was durable, by whichever portal. Raises what the last look for the disk raised."""
    deadline = time.monotonic() + _GIVEN_UP
    while True:
        for address in place.portals:
            try:
                with Session.connect(Portal(address), place.node, INITIATOR, timeout=3.0) as session:
                    first = _write(session)
                    _change(session, place.changes)
                    return first
            except QReplicaError:
                if time.monotonic() > deadline:
                    raise
        time.sleep(_RETRY)


def _change(session: Session, count: int) -> None:
    blocks = session.capacity(_LUN).size // BLOCK
    for block in random.SystemRandom().sample(range(blocks), count):
        session.write(_LUN, block * BLOCK, os.urandom(BLOCK))
    session.flush(_LUN)


def _write(session: Session) -> float:
    session.capacity(_LUN)
    session.write(_LUN, 0, session.read(_LUN, 0, BLOCK))
    session.flush(_LUN)
    return time.monotonic()


if __name__ == "__main__":
    print(take_over(Request.model_validate_json(sys.stdin.readline())), flush=True)
