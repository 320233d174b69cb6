"""Errors of plain targets: iSCSI disks of other makers, which a job can replicate to with fewer guarantees."""

from qreplica.errors import Conflict, Invalid, RemoteFailed


class ForeignDisk(Invalid):
    """What answers is an iSCSI disk that is not ours, and nobody said that this is meant."""

    kind = "foreign-disk"
    template = (
        "LUN {lun} of {node} at {address} is a disk of another maker ({maker}, {disk}) without QReplica, which as a "
        "plain target has {missing}: if that is what you want, ask for it with --plain-target."
    )


class PlainTargetIsOurs(Invalid):
    """A QReplica subsystem's disk is to be used without what QReplica guarantees."""

    kind = "plain-target-is-ours"
    template = (
        "LUN {lun} of {node} at {address} belongs to a QReplica subsystem ({why}), and as a plain target it would lose "
        "its recovery points: make the job without --plain-target, to a backup VD."
    )


class PlainTargetUnfit(Invalid):
    """The disk cannot be a plain target."""

    kind = "plain-target-unfit"
    template = "LUN {lun} of {node} at {address} cannot be a plain target because {reason}: {remedy}."


class PlainTargetTooSmall(Invalid):
    """The disk cannot hold the source VD."""

    kind = "plain-target-too-small"
    template = (
        "Disk {disk} at LUN {lun} of {node} has {found:size} and the source VD needs {needed:size}: choose a disk that "
        "is at least as large, or enlarge it."
    )


class PlainTargetUsed(Conflict):
    """Another job replicates to the disk."""

    kind = "plain-target-used"
    template = (
        "Disk {disk} at LUN {lun} of {node} is the target of replication job “{job}” already: choose another disk, or "
        "delete that job first."
    )


class PlainTargetReserved(Conflict):
    """Somebody else has registered or reserved the disk."""

    kind = "plain-target-reserved"
    template = (
        "Disk {disk} at LUN {lun} of {node} is in use by another host, whose persistent reservation has key {key}: "
        "nothing was written; have that host let go of it, or choose another disk."
    )


class PlainTargetNotEmpty(Conflict):
    """The disk holds something, and its identity was not given as a confirmation."""

    kind = "plain-target-not-empty"
    template = (
        "Disk {disk} at LUN {lun} of {node} is not empty ({content}), and the first cycle would overwrite all of it: "
        "nothing was written; if it may be lost, confirm it with the disk's identity, --overwrite {disk}."
    )


class PlainTargetReplaced(Conflict):
    """Behind the LUN there is another disk than the job's."""

    kind = "plain-target-replaced"
    template = (
        "LUN {lun} of {node} is disk {found} now, and job “{job}” replicates to disk {expected}: nothing was written; "
        "attach that disk again and start the job, or delete the job and make one for the new disk."
    )


class FenceLost(Conflict):
    """The reservation that kept others from the disk is gone, or was changed behind the job's back."""

    kind = "fence-lost"
    template = (
        "Disk {disk} at LUN {lun} of {node} was not kept for job “{job}” all the time ({why}), so nobody knows what it "
        "holds: nothing more was written; if no other host uses it, have all of it overwritten with “qreplica job "
        "accept-disk {job}”, then start the job, whose next cycle is a full copy."
    )


class UnfencedTakeover(Conflict):
    """Another controller may still write a disk that it cannot be kept from."""

    kind = "unfenced-takeover"
    template = (
        "Controller {writer} may still write disk {disk}, whose target has no persistent reservations to keep it off, "
        "so controller {controller} does not go on by itself: make sure that controller {writer} is off or was started "
        "again, say “qreplica job accept-disk {job}”, then start the job, whose next cycle is a full copy."
    )


class PlainTargetUndrained(RemoteFailed):
    """Queued writes of an earlier owner could neither be ended nor waited for."""

    kind = "plain-target-undrained"
    template = (
        "Disk {disk} at LUN {lun} of {node} may still hold queued writes of an earlier owner, since its target neither "
        "aborts them nor resets the LUN ({reason}): restart the target, then start the job."
    )


class PlainTargetHasOnePath(Invalid):
    """A plain target has one path."""

    kind = "plain-target-has-one-path"
    template = (
        "Job “{job}” replicates to a plain target, whose reservation belongs to its one path: no path was added; for a "
        "job that changes paths choose a backup VD of a QReplica subsystem."
    )


class NotAPlainTarget(Invalid):
    """Only a plain target can be accepted anew."""

    kind = "not-a-plain-target"
    template = (
        "Job “{job}” replicates to a backup VD, which keeps its recovery points by itself: there is nothing to accept; "
        "start the job."
    )


class WrongDiskGiven(Conflict):
    """The identity given as a confirmation is not that of the job's disk."""

    kind = "wrong-disk-given"
    template = "Job “{job}” replicates to disk {disk}, not to {given}: nothing was changed; give the identity {disk}."
