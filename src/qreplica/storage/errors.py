"""Errors of the storage package; drivers and services raise these."""

from qreplica.errors import Conflict, EngineFailed, Invalid, NoSpace, NotFound, Unavailable


class DiskInUse(Conflict):
    """A disk that was offered is not free."""

    kind = "disk-in-use"
    template = "Disk {disk} is already used by {owner}: choose a free disk, or remove it from there first."


class DiskTwice(Invalid):
    """A disk was named more than once."""

    kind = "disk-twice"
    template = "Disk {disk} is named twice: name every disk of an RG once."


class NotADisk(Invalid):
    """What was offered as a disk is none."""

    kind = "not-a-disk"
    template = "{disk} cannot be used as a disk ({reason}): give the path of a block device, such as /dev/sdb."


class DiskTooSmall(Invalid):
    """A disk is below the smallest size that the RAID level works with."""

    kind = "disk-too-small"
    template = "Disk {disk} has {size:size} and an RG needs disks of at least {minimum:size}: choose a larger disk."


class TooFewDisks(Invalid):
    """The RAID level needs more disks."""

    kind = "too-few-disks"
    template = "RAID level {level} needs at least {minimum} disks and got {count}: add disks or choose another level."


class GroupFailed(EngineFailed):
    """An RG cannot be opened."""

    kind = "group-failed"
    template = "RAID group {group} cannot be opened because {reason}: reconnect its disks and open it again."


class GroupSplit(GroupFailed):
    """Disks of an RG were each written while the other was away."""

    kind = "group-split"
    template = (
        "RAID group {group} is not opened because {one} and {other} were each written while the other was away, and "
        "their contents cannot be joined: decide which of them to give up, wipe it (as by “wipefs --all {other}”), and "
        "replace that disk when the group is open."
    )


class GroupBusy(Conflict):
    """An RG's files are held open."""

    kind = "group-busy"
    template = "RAID group {group} cannot be closed because something still uses it: detach its LUNs and try again."


class GroupLocked(Unavailable):
    """Another process is changing the RG."""

    kind = "group-locked"
    template = "RAID group {group} has been under change by another process for {seconds:.0f} s: try again later."


class GroupNotEmpty(Conflict):
    """An RG still holds VDs."""

    kind = "group-not-empty"
    template = "RAID group {group} still holds {count} virtual disk(s): delete them first."


class GroupClosed(EngineFailed):
    """An RG is not open."""

    kind = "group-closed"
    template = (
        "RAID group {group} is not open on this controller: open it, or look at its disks with “qreplica rg show”."
    )


class NotAMember(Invalid):
    """A disk is none of the RG's."""

    kind = "not-a-member"
    template = "Disk {disk} is no disk of RAID group {group}: name one of its own."


class RebuildRunning(Conflict):
    """An RG is being rebuilt already."""

    kind = "rebuild-running"
    template = "RAID group {group} is being rebuilt already: wait until that has ended (“qreplica rg show”)."


class RoomBeingMade(Unavailable):
    """A disk cannot be replaced before there is room for it."""

    kind = "room-being-made"
    template = (
        "RAID group {group} has given out nearly all of its disks, and makes the room first that a replacement takes: "
        "it begins by itself as soon as that is done; fewer writes meanwhile make it sooner."
    )


class NoRoomForReplacement(Unavailable):
    """A disk cannot be replaced, and nothing that the RG holds can be packed closer."""

    kind = "no-room-for-replacement"
    template = (
        "RAID group {group} has {free:size} of its disks left where a replacement takes {needed:size}, and what it "
        "holds cannot be packed closer now: delete snapshots or virtual disks; then it begins by itself."
    )


class ReplacementFailed(EngineFailed):
    """A replacement that had begun was ended by the engine."""

    kind = "replacement-failed"
    template = "Replacing a disk of RAID group {group} was cut off ({reason}): {remedy}."


class SpreadingFoundNoRoom(NoSpace):
    """What an RG holds could not be spread over a disk that was added."""

    kind = "spreading-found-no-room"
    template = (
        "What RAID group {group} holds could not be spread over all its disks, because there is too little room to "
        "rewrite it: delete snapshots or virtual disks, or replace its smallest disk by a larger one; it is tried "
        "again every {minutes} minutes, and until then what it gained cannot be promised."
    )


class NotMended(EngineFailed):
    """A scrub could not bring a disk up to date that had missed writes."""

    kind = "not-mended"
    template = (
        "{count} errors could not be mended while RAID group {group} brought {disks} up to date, because no other disk "
        "has the right content: restore the virtual disks that cannot be read from a copy, and replace that disk."
    )


class VdMissing(NotFound):
    """The engine has no such VD."""

    kind = "vd-missing"
    template = "RAID group {group} holds no virtual disk {vd}: it was deleted, or the wrong group is mounted."


class VdSizeConflict(Conflict):
    """A VD of that id exists with another size."""

    kind = "vd-size-conflict"
    template = (
        "Virtual disk {vd} has {existing:size} already, and {size:size} were asked for: it can only be extended, "
        "or deleted and made anew."
    )


class SnapshotMissing(NotFound):
    """The engine has no such snapshot."""

    kind = "snapshot-missing"
    template = "Virtual disk {vd} has no snapshot {snapshot}: it was deleted; take a new one (the next copy is full)."


class GroupFull(NoSpace):
    """The engine ran out of space."""

    kind = "group-full"
    template = "RAID group {group} is full and refused {operation}: delete snapshots or virtual disks, or add disks."


class DeltaStreamBroken(EngineFailed):
    """A stream of changes ended early or is damaged."""

    kind = "delta-stream-broken"
    template = "The change list between two snapshots is damaged ({reason}): nothing was applied; run the job again."


class DeltaStreamUnknown(EngineFailed):
    """A stream of changes contains something we do not know."""

    kind = "delta-stream-unknown"
    template = (
        "The change list has {what}, which this version does not know: nothing was applied; run a full copy or update."
    )


class StorageCommandFailed(EngineFailed):
    """A program of the engine failed."""

    kind = "storage-command-failed"
    template = "“{command}” failed ({reason}): see the event log; the state was left as it was."
