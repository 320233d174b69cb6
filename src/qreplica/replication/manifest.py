"""The digest by which two processes, or two subsystems, know that they speak of the same plan.

A resume is allowed only when the plan computed anew has the digest of the one begun: then every extent is the same, and
one offset says how far it got.
"""

import hashlib
import struct
from collections.abc import Iterable

from qreplica.storage.driver import Extent, ExtentKind

_FORMAT = b"qreplica manifest 1\n"
_NO_GENERATION = 0
_EXTENT = struct.Struct(">QQB")
_KINDS = {ExtentKind.DATA: 1, ExtentKind.ZERO: 2}


def digest(
    *,
    job: str,
    generation: int,
    base_generation: int | None,
    base_snapshot: str | None,
    source_snapshot: str,
    size: int,
    extents: Iterable[Extent],
) -> str:
    """Return the SHA-256 (hexadecimal) of the plan's canonical encoding.

    It is the format's name, then job, base snapshot (empty for a full copy) and source snapshot, each with its length
    in front, then generation, base generation (0 for a full copy) and size as 64-bit numbers, then each extent as
    offset, length and a byte for its kind; all numbers big-endian.
    """
    hasher = hashlib.sha256(_FORMAT)
    for text in (job, base_snapshot or "", source_snapshot):
        encoded = text.encode()
        hasher.update(struct.pack(">H", len(encoded)) + encoded)
    hasher.update(struct.pack(">QQQ", generation, base_generation or _NO_GENERATION, size))
    pack, update = _EXTENT.pack, hasher.update
    for extent in extents:
        update(pack(extent.offset, extent.length, _KINDS[extent.kind]))
    return hasher.hexdigest()
