"""Errors of the storage services: what the administrator asked for and cannot have."""

from qreplica.errors import Conflict, EngineFailed, Invalid, NoSpace, NotFound, Unavailable


class NameTaken(Conflict):
    """Another object of the kind has the name."""

    kind = "name-taken"
    template = "There is already a {what} “{name}”: choose another name."


class CreationInterrupted(Conflict):
    """A controller that started meanwhile undid what it found half made."""

    kind = "creation-interrupted"
    template = "“{name}” was not made because a controller started meanwhile and undid it: try again."


class DiskSourceInvalid(Invalid):
    """A disk needs a block device or an image, not both."""

    kind = "disk-source-invalid"
    template = (
        "Disk {disk} cannot be added because {reason}: give a block device, or an image file (with its size if new)."
    )


class DiskImageMissing(EngineFailed):
    """The image file of a disk is gone."""

    kind = "disk-image-missing"
    template = "Disk {disk} is missing because its image {image} is not there: bring it back, and it is used by itself."


class DiskAlreadyAdded(Conflict):
    """The device or image is a disk already."""

    kind = "disk-already-added"
    template = "{source} is already disk “{disk}”: use that one."


class DiskOfGroup(Conflict):
    """A disk belongs to an RG."""

    kind = "disk-of-group"
    template = "Disk {disk} belongs to RAID group {group}: choose a free disk, or delete that group first."


class DisksRepeated(Invalid):
    """A disk was named twice."""

    kind = "disks-repeated"
    template = "Disk {disk} is named twice: name each disk once."


class DiskHasFailed(Conflict):
    """A disk that failed before."""

    kind = "disk-has-failed"
    template = (
        "Disk {disk} has failed before: choose another one, or, when it is repaired, remove it with “qreplica disk "
        "delete” and add it anew."
    )


class DiskNotOfGroup(Invalid):
    """A disk does not belong to the RG."""

    kind = "disk-not-of-group"
    template = "Disk {disk} does not belong to RAID group {group}: name one of {members}."


class ReplacementTooSmall(Invalid):
    """A disk cannot take another one's place."""

    kind = "replacement-too-small"
    template = (
        "Disk {disk} has {size:size} and cannot replace {old} of {needed:size}: choose one of at least that size."
    )


class GroupNotWhole(Conflict):
    """An RG is degraded, or worse."""

    kind = "group-not-whole"
    template = (
        "RAID group {group} cannot be {wanted} while it is {health}: see “qreplica rg show {group}”, and mend it first."
    )


class GroupStoppedWriting(EngineFailed):
    """The engine does not write to an RG any more."""

    kind = "group-stopped-writing"
    template = (
        "RAID group {group} stopped writing after an error of its disks, so that its virtual disks can only be read: "
        "mend its disks and detach its LUNs, and it is opened anew by itself."
    )


class DiskAddsNothing(Invalid):
    """An RG would not hold more with a disk."""

    kind = "disk-adds-nothing"
    template = (
        "RAID group {group} would hold {after:size} with disk {disk} of {size:size}, and holds {before:size} without: "
        "choose a disk as large as its others."
    )


class ScrubDaysInvalid(Invalid):
    """An interval between scrubs that cannot be."""

    kind = "scrub-days-invalid"
    template = "A RAID group cannot be scrubbed every {days} days: choose 1 to {most}, or none."


class GroupHasNoRoom(NoSpace):
    """An RG has less free space than is needed."""

    kind = "group-has-no-room"
    template = (
        "RAID group {group} has {free:size} free and {what} needs {needed:size}: choose a smaller size, delete virtual "
        "disks or snapshot space, or use a larger group."
    )


class VdSizeInvalid(Invalid):
    """A size that a VD cannot have."""

    kind = "vd-size-invalid"
    template = "A virtual disk cannot have {size:size}: choose a multiple of 4 KiB, at least {minimum:size}."


class VdCannotShrink(Invalid):
    """A size below the one that a VD has."""

    kind = "vd-cannot-shrink"
    template = (
        "Virtual disk {vd} has {size:size} and cannot shrink to {asked:size}, because that would cut off what hosts "
        "wrote: ask for more than {size:size}, or make a smaller one and copy."
    )


class VdInUse(Conflict):
    """A VD is attached or replicated."""

    kind = "vd-in-use"
    template = "Virtual disk {vd} cannot be deleted because {user} uses it: {remedy} first."


class VdHasLockedPoint(Conflict):
    """A VD has a recovery point that somebody locked."""

    kind = "vd-has-locked-point"
    template = (
        "Virtual disk {vd} cannot be deleted because its recovery point of generation {generation} is locked by {by}: "
        "unlock it with “qreplica recovery-point unlock {vd} {point}” first."
    )


class SnapshotSpaceInvalid(Invalid):
    """A snapshot space that a VD of its type cannot have."""

    kind = "snapshot-space-invalid"
    template = (
        "The snapshot space of {vd} cannot be {asked:size}: a virtual disk of type {type} of this size needs at least "
        "{least:size}."
    )


class SnapshotSpaceTooSmall(Conflict):
    """Snapshots use more than the space that was asked for."""

    kind = "snapshot-space-too-small"
    template = "The snapshots of {vd} use {used:size}, more than {asked:size}: delete snapshots first, or ask for more."


class NoSnapshotSpace(NoSpace):
    """A VD has no snapshot space, or has used it up."""

    kind = "no-snapshot-space"
    template = (
        "Virtual disk {vd} has {space:size} of snapshot space and {used:size} of it are used: set more with “qreplica "
        "vd set-snapshot-space”, or delete snapshots."
    )


class ScheduleInvalid(Invalid):
    """A schedule of automatic snapshots that cannot be."""

    kind = "schedule-invalid"
    template = (
        "Automatic snapshots cannot be taken every {minutes} minutes with {keep} kept: choose 1 to {most_minutes} "
        "minutes, and 1 to {most_kept} to keep."
    )


class ScheduleOfBackup(Invalid):
    """A backup VD has recovery points instead."""

    kind = "schedule-of-backup"
    template = (
        "Virtual disk {vd} has type BACKUP and can have no automatic snapshots, because it is half written now and "
        "then: use its recovery points, or the source's snapshots."
    )


class RollBackNotConfirmed(Conflict):
    """A roll-back without the word that stands for having read what it loses."""

    kind = "roll-back-not-confirmed"
    template = (
        "Rolling {vd} back to snapshot {snapshot} loses {loss}: say that you want this by naming the virtual disk once "
        "more (“confirm”: “{vd}”)."
    )


class VdReplicating(Conflict):
    """A job is sending a VD's snapshot."""

    kind = "vd-replicating"
    template = (
        "Virtual disk {vd} cannot be rolled back because replication job {job} is {state}: wait until it has ended, or "
        "stop it with “qreplica job stop {job}”."
    )


class VdClaimed(Conflict):
    """A job of another subsystem writes a backup VD."""

    kind = "vd-claimed"
    template = (
        "Backup VD {vd} cannot be rolled back because replication job {job} of another subsystem writes it: delete "
        "that job, or release the iSCSI node, first."
    )


class RollBackRunning(Unavailable):
    """Another roll-back holds target daemons up."""

    kind = "roll-back-running"
    template = (
        "Virtual disk {vd} is not rolled back because another roll-back has been running for {seconds:.0f} s: try "
        "again when that has ended."
    )


class VdHasHosts(Conflict):
    """Hosts are logged in to a node that shows a VD."""

    kind = "vd-has-hosts"
    template = (
        "Virtual disk {vd} cannot be rolled back because {hosts} is logged in to node {node} and would go on with what "
        "it remembers of the disk: log it out, or detach LUN {lun} of {node}, first."
    )


class SnapshotPinned(Conflict):
    """Something needs a snapshot."""

    kind = "snapshot-pinned"
    template = "Snapshot {snapshot} of {vd} cannot be deleted because {pins} needs it: end that first."


class SnapshotOfLockedPoint(Conflict):
    """A snapshot is that of a recovery point that somebody locked."""

    kind = "snapshot-of-locked-point"
    template = (
        "Snapshot {snapshot} of {vd} cannot be deleted because it is recovery point {generation}, which {by} locked: "
        "unlock it first with “qreplica recovery-point unlock {vd} {snapshot}”; then the virtual disk's retention lets "
        "it go when no rule keeps it."
    )


class SnapshotNotStill(Conflict):
    """The target daemons did not stand still for a snapshot."""

    kind = "snapshot-not-still"
    template = (
        "No snapshot of {vd} was taken because a target daemon did not stand still in any of {tries} tries: try again."
    )


class SnapshotInterrupted(Conflict):
    """Somebody undid a snapshot while it was taken."""

    kind = "snapshot-interrupted"
    template = (
        "Snapshot “{snapshot}” of {vd} was not taken because it, or its virtual disk, was removed meanwhile: try again."
    )


class NoSuchSnapshot(NotFound):
    """No snapshot of the name."""

    kind = "no-such-snapshot"
    template = "Virtual disk {vd} has no snapshot “{name}”: list them with “qreplica snapshot list --vd {vd}”."
