"""Errors of the target's side of replication. They travel to the source as problem bodies."""

from qreplica.errors import Conflict, Invalid, NoSpace, NotFound, Unavailable


class LunEmpty(NotFound):
    """Nothing is attached under the LUN number."""

    kind = "lun-empty"
    template = "iSCSI node {node} has no virtual disk at LUN {lun}: attach the backup VD to that LUN first."


class VdDetached(Conflict):
    """The node no longer shows the backup VD."""

    kind = "vd-detached"
    template = "Backup VD “{vd}” is no longer attached to iSCSI node {node}: attach it again, then start the job."


class AttachedTwice(Conflict):
    """A backup VD can be guarded on one node only."""

    kind = "attached-twice"
    template = (
        "Backup VD “{vd}” is attached to iSCSI node {node} and also to {other}: a replicated VD may be on one node "
        "only, so detach it from one of them."
    )


class NotABackupVd(Invalid):
    """A replication job may only write a VD of type BACKUP, and never a snapshot."""

    kind = "not-a-backup-vd"
    template = "LUN {lun} of iSCSI node {node} is {what}, not a backup VD: choose a LUN whose VD has type BACKUP."


class VdMismatch(Conflict):
    """The LUN shows another VD than the job knows."""

    kind = "vd-mismatch"
    template = (
        "LUN {lun} of iSCSI node {node} is now backup VD “{present}”, not the one the job was made for: attach that "
        "one again, or create a new job."
    )


class BackupVdCannotFollow(NoSpace):
    """The source VD has grown, and the backup VD's RG has no room to follow."""

    kind = "backup-vd-cannot-follow"
    template = (
        "The source VD has {source_size:size} now and backup VD “{vd}” of {size:size} cannot follow, because its RAID "
        "group {group} has {free:size} free and {needed:size} are needed, recovery points included: make room there, "
        "then start the job, which goes on with the changes."
    )


class ClaimedByAnother(Conflict):
    """Another job holds the backup VD, or its node."""

    kind = "claimed-by-another"
    template = (
        "{what} “{name}” is used by replication job “{holder}”: choose a backup VD on another iSCSI node, or delete "
        "that job, or, if its subsystem is gone, release the node there with “qreplica node release”."
    )


class NotClaimed(Conflict):
    """The job does not hold the backup VD."""

    kind = "not-claimed"
    template = "Replication job {job} does not hold the backup VD of iSCSI node {node}: start the job, which claims it."


class StaleEpoch(Conflict):
    """Someone with a newer epoch owns the backup VD: who asks is no longer the owner and must stop."""

    kind = "stale-epoch"
    template = (
        "Epoch {epoch} of replication job {job} is over, since backup VD “{vd}” is at epoch {current}: another "
        "controller or path has taken the job over; this one must stop."
    )


class Superseded(Conflict):
    """The backup VD was promoted: hosts use it, and the job that replicated to it may never write it again."""

    kind = "superseded"
    template = (
        "The copy on “{vd}” was promoted at {at} with the content of generation {generation}, and hosts use it now "
        "(epoch {epoch}): this job sends nothing more; keep hosts off the source VD, whose later writes are on this "
        "side alone, and have the job give way to the copy (“qreplica job give-way”), or delete it."
    )


class NoSuchPoint(NotFound):
    """The recovery point that was asked about is not there, or no longer."""

    kind = "no-such-point"
    template = (
        "Backup VD “{vd}” has no recovery point of generation {generation}, or no longer: later ones that are there "
        "can be asked about."
    )


class NotPromoted(NotFound):
    """Nothing was promoted."""

    kind = "not-promoted"
    template = "No backup VD {vd} of iSCSI node {node} was promoted: its job can run as ever."


class FencingFailed(Unavailable):
    """A target controller did not confirm that older owners are cut off."""

    kind = "fencing-failed"
    template = (
        "Backup VD “{vd}” cannot be taken over yet, because controller {controller} of the target did not confirm that "
        "older sessions are cut off ({reason}): try again in a moment."
    )


class NotServed(Unavailable):
    """The target daemon here does not serve the node as the last claim left it."""

    kind = "not-served"
    template = (
        "iSCSI node {node} is not served as the last claim asked (its target daemon was started again): claim it anew."
    )


class BaseMismatch(Conflict):
    """What the delta was computed from is not what the backup VD holds."""

    kind = "base-mismatch"
    template = (
        "The source offers changes since {offered}, but the newest recovery point of backup VD “{vd}” is {newest}: "
        "nothing was changed; the next cycle must be a full copy, or one from that point."
    )


class GenerationInvalid(Conflict):
    """A generation must be newer than those already committed."""

    kind = "generation-invalid"
    template = (
        "Generation {generation} of backup VD “{vd}” cannot be begun, since {newest} is committed: use a higher number."
    )


class NotBegun(Conflict):
    """The generation to be compared or committed is not the one in progress."""

    kind = "not-begun"
    template = (
        "Generation {generation} of backup VD “{vd}” cannot be gone on with, because {present}: begin and send it "
        "again; the newest recovery point is untouched."
    )


class BeyondBackupVd(Conflict):
    """More is to be compared than the backup VD has."""

    kind = "beyond-backup-vd"
    template = (
        "Backup VD “{vd}” has {size:size}, and {end:size} of it are to be compared: begin the generation anew, which "
        "extends it; nothing was changed."
    )


class ManifestMismatch(Conflict):
    """The generation is the right one, its manifest another."""

    kind = "manifest-mismatch"
    template = (
        "Generation {generation} of backup VD “{vd}” was {step} with manifest {expected}, not {offered}: begin and "
        "send it again; the newest recovery point is untouched."
    )
