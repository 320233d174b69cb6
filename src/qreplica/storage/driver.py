"""The storage driver contract.

A driver knows nothing of names, jobs or the database: it is given ids (lower-case letters, digits and ``-``, at most
64 characters, unique within the subsystem) and deals in bytes. Every mutating call is idempotent: creating what
exists with the same properties and deleting what is gone both succeed, so that a caller that died in the middle can
simply call again. A call that fails leaves things as they were. ``tests/storage/test_compliance.py`` runs the same
suite against every driver.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

#: Virtual disks are multiples of this; every extent of a delta is aligned to it (btrfs sector size, bytes).
BLOCK = 4096


class RaidLevel(StrEnum):
    """How a RAID group spreads data over its disks."""

    JBOD = "jbod"
    RAID0 = "raid0"
    RAID1 = "raid1"
    RAID5 = "raid5"
    RAID6 = "raid6"
    RAID10 = "raid10"
    MIRROR3 = "mirror3"
    MIRROR4 = "mirror4"


class ExtentKind(StrEnum):
    """What the receiver of an extent does: write bytes, or make the range read as zeros."""

    DATA = "data"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of a virtual disk, in bytes."""

    offset: int
    length: int
    kind: ExtentKind

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.offset + self.length


class GroupHealth(StrEnum):
    """How an RG is: ONLINE, DEGRADED but whole without some disks, REBUILDING, FAILED or CLOSED.

    REBUILDING is one that a replacement or a rebalancing brings (back) to its full redundancy. FAILED is one that the
    engine stopped writing to after an error; its VDs can be read at most. CLOSED is one that is not open on this
    controller, whatever the reason.
    """

    ONLINE = "online"
    DEGRADED = "degraded"
    REBUILDING = "rebuilding"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class DiskErrors:
    """What a disk did wrong since it joined its RG, each a count that outlives a restart.

    ``corruption``: what was read had the wrong checksum; ``generation``: it was older than it had to be.
    """

    read: int = 0
    write: int = 0
    flush: int = 0
    corruption: int = 0
    generation: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.read + self.write + self.flush + self.corruption + self.generation


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A disk of an open RG as the engine sees it; ``disk`` is None when it is missing and its path not known."""

    disk: Path | None
    missing: bool
    errors: DiskErrors = DiskErrors()


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The state of an RG: health, the bytes its filesystem has given out for data, and the disks it misses.

    ``rebuilt`` is the share done, 0 to 1, while REBUILDING, else None; ``spreading`` tells that it is so only because
    what it holds is to be spread over a disk that was added: a disk may be replaced meanwhile.
    """

    health: GroupHealth
    allocated: int
    missing_disks: int
    rebuilt: float | None = None
    members: tuple[MemberStatus, ...] = ()
    spreading: bool = False


@dataclass(frozen=True, slots=True)
class Scrub:
    """The last scrub of an RG: whether it still runs, the share done (0 to 1), and what it found.

    ``checked`` in bytes of all copies; ``corrected`` and ``uncorrectable`` count errors. ``interrupted`` is one that
    ended before its time.
    """

    running: bool
    interrupted: bool
    progress: float
    checked: int
    corrected: int
    uncorrectable: int
    started_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A QSnap snapshot as the driver sees it; ``size`` is the VD's size at that time, in bytes, ``taken_at`` UTC."""

    snapshot: str
    size: int
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class SpaceUsed:
    """Bytes used by a VD and its snapshots together (``total``), and the part beyond the VD's size (``snapshots``).

    ``snapshots`` is never negative: a VD not yet written full has unused promise, which snapshots may not claim.
    """

    total: int
    snapshots: int


@dataclass(frozen=True, slots=True)
class DataUse:
    """Bytes of an RG's data: ``held`` by the engine now, and ``coming``, which was written and has no place yet.

    What was overwritten is held until the engine lets go of it, which ``let_go`` makes it do.
    """

    held: int
    coming: int


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a slice of reclaiming did: bytes ``freed`` and ``rewritten``, and where to go on, None at the end."""

    freed: int
    rewritten: int
    next: int | None


class StorageDriver(ABC):
    """Everything that the services need from an engine. Paths returned stay valid until the object is deleted.

    Calls that make, change or delete an RG or a VD wait for each other, also across processes; one that waits for
    minutes raises GroupLocked. Any of them raises StorageCommandFailed when the engine fails, and those that need space
    GroupFull.
    """

    @abstractmethod
    def create_group(self, group: str, disks: Sequence[Path], level: RaidLevel) -> None:
        """Make an RG of ``disks`` (block devices) and open it.

        Raises DiskInUse for a disk that carries a filesystem, a partition table or any signature, or belongs to an RG;
        DiskTwice; NotADisk; TooFewDisks; DiskTooSmall. Calling again with the same arguments after success opens the
        group, and never makes it anew: what cannot be opened raises GroupFailed.
        """

    @abstractmethod
    def open_group(self, group: str, disks: Sequence[Path]) -> None:
        """Make an existing RG usable (after a restart). Opens degraded when enough disks remain.

        Finishes or undoes whatever a crash left half done in it. Raises GroupFailed when it cannot be opened, and its
        GroupSplit when disks were written apart from each other.
        """

    @abstractmethod
    def close_group(self, group: str) -> None:
        """Stop using an RG; its data stays. Raises GroupBusy while something holds a file of it open."""

    @abstractmethod
    def delete_group(self, group: str, disks: Sequence[Path]) -> None:
        """Close the RG and wipe its signatures from those of ``disks`` that are its own.

        Raises GroupNotEmpty while it holds VDs, open or not, and GroupBusy; one that cannot be opened is wiped.
        """

    @abstractmethod
    def group_status(self, group: str) -> GroupStatus:
        """Return the RG's state; CLOSED for one that is not open."""

    @abstractmethod
    def replace_disk(self, group: str, old: Path, new: Path) -> None:
        """Begin to put ``new`` in the place of ``old``, which may be missing; goes on in the background.

        From then on ``new`` is a disk of the RG and its status REBUILDING; it goes on after a restart. Calling again
        with the same disks succeeds. ``new`` may be ``old`` itself, back after it was missing: it is made anew. Raises
        DiskInUse, NotADisk, DiskTooSmall (smaller than ``old``), NotAMember, GroupClosed, and RebuildRunning while the
        RG is REBUILDING; then nothing was begun. Only a growth makes way for it, and for that of a missing disk
        whatever the RG needs once all are there.

        Raises RoomBeingMade and NoRoomForReplacement (Unavailable) while there is too little room: call again, some
        seconds later. One that has begun and is cut off is told by ``tend_group``; then too call again, which raises
        ReplacementFailed if it was for anything else than for room.
        """

    @abstractmethod
    def add_disk(self, group: str, disk: Path) -> None:
        """Grow the RG by a disk; what it holds is spread over all disks in the background (REBUILDING).

        Idempotent. Raises DiskInUse, NotADisk, DiskTooSmall, GroupClosed, RebuildRunning.
        """

    @abstractmethod
    def tend_group(self, group: str, spare: int | None = None) -> None:
        """Take the next step of what a replacement, a growth or the return of a disk needs; soon returns.

        What need not be done now is left for later when it would hold more than ``spare`` bytes (None: any number) of
        the RG's room while it lasts: what is moved is held twice until it has moved, and ``data_use`` counts it as
        coming until then. ``stop_moving`` ends it.
        To be called now and then (some seconds apart) while the RG is open, by one process at a time: after a
        replacement it restores the redundancy of what was written while degraded. Idempotent. Raises what was found
        to hinder it: ReplacementFailed, SpreadingFoundNoRoom, NotMended.
        """

    @abstractmethod
    def start_scrub(self, group: str) -> None:
        """Begin to read all copies of everything and mend what is wrong; one that runs already goes on.

        Ends with the machine or the RG's closing. Raises GroupClosed, and RebuildRunning while a disk is replaced.
        """

    @abstractmethod
    def stop_scrub(self, group: str) -> None:
        """End a running scrub; idempotent."""

    @abstractmethod
    def scrub_status(self, group: str) -> Scrub | None:
        """Return the running or last scrub, None when there never was one."""

    @abstractmethod
    def create_vd(self, group: str, vd: str, size: int) -> None:
        """Make a VD of ``size`` bytes (a multiple of BLOCK), reading as zeros, using no space until written."""

    @abstractmethod
    def clone_vd(self, group: str, vd: str, snapshot: str, clone: str) -> None:
        """Make another VD, ``clone``, of the content and size of a VD's snapshot, whose blocks it shares until written.

        What is written to either is not seen in the other; the clone is there when the snapshot and its VD are deleted.
        One that exists already is left as it is. Durable on return. Raises SnapshotMissing.
        """

    @abstractmethod
    def resize_vd(self, group: str, vd: str, size: int) -> None:
        """Let the live VD grow to ``size`` bytes (a multiple of BLOCK); what is new reads as zeros. Idempotent.

        Whoever holds the file open sees its new length. Durable on return. Raises VdMissing, and VdSizeConflict when
        the VD is larger already: a VD never shrinks but by ``roll_back``.
        """

    @abstractmethod
    def delete_vd(self, group: str, vd: str) -> None:
        """Delete the VD and all its snapshots."""

    @abstractmethod
    def list_vds(self, group: str) -> list[str]:
        """Return the ids of the RG's VDs, sorted."""

    @abstractmethod
    def vd_path(self, group: str, vd: str) -> Path:
        """Return the file that is the live VD; its length is the VD's size. Raises VdMissing."""

    @abstractmethod
    def prepare_snapshot(self, group: str, vd: str) -> None:
        """Do beforehand, while writes go on, what would make the next ``take_snapshot`` slow; changes nothing.

        Hosts wait during ``take_snapshot`` (rule 9): call this before they are paused, and only that between pause and
        resume. It may be left out; the snapshot is the same and takes longer.
        """

    @abstractmethod
    def take_snapshot(self, group: str, vd: str, snapshot: str) -> SnapshotInfo:
        """Freeze the VD's present content as ``snapshot``, atomically; an existing one is returned unchanged.

        The caller sees to it that no write is under way (rule 9); the driver that all completed ones are included, also
        those that only the page cache holds, and that the snapshot is durable on return. Needs no flush before and no
        sync after. Waits for no other call on the RG, unless it is about the same snapshot.
        """

    @abstractmethod
    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        """Delete a snapshot; its space comes back in the background."""

    @abstractmethod
    def list_snapshots(self, group: str, vd: str) -> list[SnapshotInfo]:
        """Return the VD's snapshots, oldest first."""

    @abstractmethod
    def snapshot_path(self, group: str, vd: str, snapshot: str) -> Path:
        """Return the snapshot's read-only file. Raises SnapshotMissing."""

    @abstractmethod
    def roll_back(self, group: str, vd: str, snapshot: str, confirm: Callable[[], object] = lambda: None) -> None:
        """Replace the live VD's content and size by the snapshot's, atomically also across a crash.

        Snapshots stay. The file behind ``vd_path`` becomes another one: whoever holds it open (a target) must be
        made to let go before and to open it anew after. From before ``confirm`` is called until all is done no other
        process rolls a VD of the RG back; where it raises, nothing changes. Raises SnapshotMissing.
        """

    @abstractmethod
    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:
        """Return the space used by the VD and its snapshots (bookend extents included).

        Everything written or taken before is counted. What was deleted counts until the engine has freed it, some
        seconds later. Makes the engine write out what is dirty: for a check now and then, not for every write.
        Without ``settled`` it is what the engine counted last, usually some seconds ago at most, and cheap.
        """

    @abstractmethod
    def data_use(self, group: str) -> DataUse:
        """Return how much data the open RG holds; cheap enough for ten times a second. Raises GroupClosed."""

    @abstractmethod
    def stop_moving(self, group: str) -> None:
        """End what ``tend_group`` moves though it need not be done now, and give back the room that it holds.

        Idempotent. Raises GroupClosed.
        """

    @abstractmethod
    def let_go(self, group: str) -> None:
        """Give everything that was written its place, and free what it replaced. Raises GroupClosed."""

    @abstractmethod
    def freeing(self, group: str) -> bool:
        """Tell whether the engine still frees what was deleted: VDs and snapshots; cheap. Raises GroupClosed.

        Once it does not, the next ``let_go`` frees the last of it. Something that a program holds open is not freed
        before that ends.
        """

    @abstractmethod
    def allocated(self, group: str, vd: str) -> int:
        """Return how many bytes of the live VD are no hole; cheap."""

    @abstractmethod
    def reclaim(
        self, group: str, vd: str, *, start: int, budget: int, room: int, worth: float, seconds: float
    ) -> Reclaimed:
        """Give back space that the engine holds though nothing uses it any more, by rewriting what it is held by.

        Looks from offset ``start`` on and rewrites about ``budget`` bytes, and never more than ``room``, where each
        gives back ``worth`` bytes or more. The VD's content does not change, hosts may write meanwhile, and nothing
        that a snapshot shares is rewritten. Returns after ``seconds`` or soon after. What was freed can be used after
        the next ``let_go`` at the latest. Raises GroupLocked when another call on the RG lasts for ``seconds``,
        VdMissing, GroupFull, and StorageCommandFailed, also when some of what is to be rewritten cannot be read.
        """

    @abstractmethod
    def flush(self, group: str, vd: str) -> None:
        """Return once everything written to the live VD is on stable storage."""

    @abstractmethod
    def delta(self, group: str, vd: str, base: str | None, new: str) -> list[Extent]:
        """Return what turns ``base`` into ``new``: ascending, aligned to BLOCK, disjoint, neighbours merged.

        With ``base`` None it covers the whole of ``new`` (holes as ZERO). A byte outside all extents is the same in
        both; growth beyond the base's size is listed. Extents lie within ``new``'s size. Costs O(changes), never
        reads data. Raises SnapshotMissing, DeltaStreamBroken (cut off, wrong checksum), DeltaStreamUnknown (a
        command we do not know: never guess).
        """

    @abstractmethod
    def changed_since(self, group: str, vd: str, snapshot: str) -> int:
        """Return about how many bytes of data a delta from ``snapshot`` to the live VD would hold now.

        Costs O(changes), never reads data, and holds no host up. An upper bound: what was written anew with the same
        content counts, and all that the VD holds may, once it was rolled back since. Ranges that read as zeros now do
        not count, nor does what the engine has not written out yet (some 30 s at most). Raises VdMissing,
        SnapshotMissing, and StorageCommandFailed.
        """
