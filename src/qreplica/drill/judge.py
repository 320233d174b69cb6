"""The judgement of a drill: bytes, never a status."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qreplica.drill.host import Found
from qreplica.lab.ledger import Ledger

_STEP = 1 << 20
#: So many wrong blocks are told of one by one.
_TOLD = 3


def verdict(ledger: Ledger, name: str, host: Found) -> list[str]:
    """Return what is wrong, in sentences; nothing when all bytes are where they must be.

    ``name`` is the job's and the backup VD's. The recovery point must be the source's snapshot of its generation; so
    must the live backup VD, which whoever wrote under an old epoch would have changed; and the host must find all that
    it had flushed.
    """
    base, (point, live) = ledger.base_file(name), ledger.copies(name)
    with ThreadPoolExecutor(2) as pool:
        original, copied, present = pool.map(digest, (base, point, live))
    wrong = of_host(host)
    if copied != original:
        wrong.append(f"the recovery point {point} differs from the source's snapshot {base}")
    if present != copied:
        wrong.append(f"the live backup VD {live} is not its newest recovery point: somebody wrote to it")
    return wrong


def of_host(host: Found) -> list[str]:
    """Return what the host found wrong on its disk: it must find all that it had flushed."""
    lost = [f"{host.lost} blocks do not hold what the host had flushed"] if host.lost else []
    more = [f"{len(host.wrong) - _TOLD} more blocks are wrong"] if len(host.wrong) > _TOLD else []
    return [*host.wrong[:_TOLD], *more, *lost]


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := content.read(_STEP):
            found.update(piece)
    return found.hexdigest()
