"""What the two subsystems say to each other: HTTP with JSON bodies under ``/peer/v1`` on every iSCSI port's address.

| method and path | request | answer |
|---|---|---|
| GET ``/peer/v1/nodes`` | (unsigned, like iSCSI SendTargets) | NodeList |
| GET ``/peer/v1/nodes/{iqn}/backup-vds`` | | BackupVdList |
| POST ``/peer/v1/nodes/{iqn}/claim`` | Claim | Lineage |
| POST ``/peer/v1/nodes/{iqn}/begin`` | Begin | Begun |
| POST ``/peer/v1/nodes/{iqn}/compare`` | Compare | Digests |
| POST ``/peer/v1/nodes/{iqn}/compare-point`` | ComparePoint | PointDigests |
| POST ``/peer/v1/nodes/{iqn}/commit`` | Commit | Committed |
| POST ``/peer/v1/nodes/{iqn}/abort`` | Abort | Lineage |
| GET ``/peer/v1/nodes/{iqn}/lineage?lun=`` | | Lineage |
| POST ``/peer/v1/nodes/{iqn}/release`` | Release | (204) |
| GET ``/peer/v1/nodes/{iqn}/promotion?vd=`` | | Promoted |
| POST ``/peer/v1/nodes/{iqn}/promote`` | Promote | Promoted |

All but the first are signed with the node's CHAP name and secret (``peer.signing``), or, for a node without CHAP, with
the pairing secret that its first claim agreed on (``peer.pairing``); the answers are signed with the same secret.
Failures are RFC 9457 problem bodies.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qreplica.units import KIB, MIB

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
QuickDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Size = Annotated[int, Field(ge=0)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeEntry(_Message):
    """A node that this portal offers for replication; ``chap`` tells whether it wants a CHAP name and secret."""

    iqn: str
    chap: bool
    backup_vds: int


class NodeList(_Message):
    """The nodes that hold backup VDs, and the subsystem that answers."""

    subsystem: str
    subsystem_id: Id
    controller: int
    nodes: list[NodeEntry]


class Point(_Message):
    """A committed recovery point."""

    generation: int
    source_snapshot: Id
    size: Size
    manifest: Digest
    committed_at: datetime


class BackupVd(_Message):
    """A LUN of a node, as the wizard shows it; ``type`` is BACKUP or RAID (a RAID VD is listed, and cannot be chosen).

    ``claimed_by`` is the id of the job that holds the VD, if any; ``refusal`` the sentence that a new job's claim would
    be refused with. That must propose an epoch higher than ``epoch``.
    ``held`` is the newest point that it has, and ``held_of`` the job that made it: a job in the other direction can go
    on from there.
    """

    lun: int
    vd: Id
    name: str
    type: str
    size: Size
    serial: str
    claimed_by: Id | None
    refusal: str | None = None
    epoch: Size = 0
    held: Point | None = None
    held_of: Id | None = None


class BackupVdList(_Message):
    """The LUNs of a node."""

    subsystem: str
    subsystem_id: Id
    vds: list[BackupVd]


class InProgress(_Message):
    """A generation begun and not committed: the live backup VD holds a part of it."""

    generation: int
    base_generation: int | None
    source_snapshot: Id
    size: Size
    manifest: Digest


class Claim(_Message):
    """Take the backup VD for a job. Every claim raises the epoch, also for the same owner.

    ``epoch`` is the new one, proposed by the source; it must be higher than the target's last for this VD (and
    node). ``vd`` must be what ``lun`` shows. A VD claimed by another job is refused until that one is released.
    ``pairing_key`` is the source's half of a key agreement (X25519, hexadecimal), sent with the unsigned first claim on
    a node without CHAP.
    """

    job: Id
    job_name: str
    source_subsystem: Id
    source_subsystem_name: str
    lun: int
    vd: Id
    source_size: Size
    epoch: Annotated[int, Field(ge=1)]
    pairing_key: Digest | None = None


class Lineage(_Message):
    """What the backup VD holds, after every older epoch was cut off.

    ``vd_name`` is what the target's administrator calls it. ``initiator`` is the only name now admitted to the node (it
    carries the epoch), empty when nobody is. ``points`` are those of the job that holds the VD, ascending by
    generation. ``pairing_key`` is the target's half of the key agreement that an unsigned claim asked for;
    ``pairing_secret`` is what ``PeerClient`` then worked out, for its caller to keep: it never goes over the wire.
    """

    vd: Id
    vd_name: str
    lun: int
    size: Size
    serial: str
    epoch: int
    initiator: str
    points: list[Point]
    in_progress: InProgress | None
    pairing_key: Digest | None = None
    pairing_secret: Annotated[str | None, Field(exclude=True, repr=False)] = None


class Begin(_Message):
    """Start, or go on with, a generation.

    The target refuses (``base-mismatch``) unless ``base_generation`` and ``base_snapshot`` are its newest point of this
    job, or None for a full copy. When another generation is in progress the live VD is first rolled back to that point
    (before a full copy, to whatever point there is). The same generation with the same manifest goes on
    (``resumed``), and keeps what it has. A backup VD smaller than ``size`` is extended, if its RG has the room.
    """

    job: Id
    epoch: int
    generation: Annotated[int, Field(ge=1)]
    base_generation: int | None
    base_snapshot: Id | None
    source_snapshot: Id
    size: Size
    manifest: Digest


class Begun(_Message):
    """The generation may be written; ``resumed`` says that what was durable before still stands.

    ``size`` is what the backup VD has now.
    """

    resumed: bool
    size: Size


class _Range(_Message):
    """From ``offset`` to ``end``, in chunks of ``chunk`` bytes, which lie at multiples of that, as ``offset`` does."""

    offset: Size
    end: Size
    chunk: Annotated[int, Field(ge=4 * KIB, le=MIB, multiple_of=4 * KIB)]

    @model_validator(mode="after")
    def _is_of_whole_chunks(self) -> Self:
        if self.offset % self.chunk or self.offset >= self.end:
            message = f"offset {self.offset} is no multiple of {self.chunk} below {self.end}"
            raise ValueError(message)
        return self

    def tells(self, end: int, offsets: Iterable[int]) -> bool:
        """Tell whether an answer up to ``end``, with digests at those offsets, is one to this."""
        is_sound = self.offset < end <= self.end and (end % self.chunk == 0 or end == self.end)
        return is_sound and all(offset in range(self.offset, end, self.chunk) for offset in offsets)


class Compare(_Range):
    """Tell what the live backup VD holds of a range, as digests of its chunks.

    Only for the owner, and only of the generation in progress, with whose size the range ends.
    """

    job: Id
    epoch: int
    generation: int
    manifest: Digest


class ComparePoint(_Range):
    """Tell what a committed recovery point holds of a range, as digests of its chunks.

    Only for the job that holds the backup VD, of one of its points, whatever is being written to the live VD.
    """

    job: Id
    generation: int
    source_snapshot: Id


class PointDigests(_Message):
    """What the point holds from the offset asked for up to ``end``: as ``Digests`` does, but by XXH3-128."""

    end: Size
    digests: dict[Size, QuickDigest | None]


class Digests(_Message):
    """What the backup VD holds from the offset asked for up to ``end``, which is as far as the target looked.

    ``digests`` has the SHA-256 of each chunk that holds data, by its offset; None for one that cannot be read. All the
    rest up to ``end`` is zeros.
    """

    end: Size
    digests: dict[Size, Digest | None]


class Commit(_Message):
    """All of the generation is durable: make it a recovery point. Idempotent for the same generation and manifest."""

    job: Id
    epoch: int
    generation: int
    manifest: Digest


class Committed(_Message):
    """The recovery point now exists."""

    point: Point


class Abort(_Message):
    """Give up the generation in progress; the live VD is rolled back to the newest point, if there is one."""

    job: Id
    epoch: int


class Promote(_Message):
    """Hosts are to go on with the copy of ``generation``: promote the backup VD, and refuse the job from then on.

    Refused to whoever has not the newest ``epoch`` of those that claimed the VD. Idempotent.
    """

    job: Id
    vd: Id
    epoch: int
    generation: Annotated[int, Field(ge=1)]


class PromotedPoint(_Message):
    """A recovery point of a VD that was promoted: ``snapshot`` is there what ``source_snapshot`` was on the source."""

    generation: int
    source_snapshot: Id
    snapshot: Id


class Promoted(_Message):
    """What became of a backup VD that was promoted with ``generation``; ``points`` ascend by generation.

    They are those of the job that it had, from any of which changes can go back.
    """

    vd_name: str
    generation: int
    epoch: int
    points: list[PromotedPoint]


class Release(_Message):
    """The job is deleted: the backup VD keeps its points and may be claimed by another job."""

    job: Id
    epoch: int
