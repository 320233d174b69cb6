"""Errors of the source's side of replication."""

from qreplica.errors import Conflict, EngineFailed, Invalid, NoSpace, NotFound, RemoteFailed, Unauthorized, Unavailable


class StaleOwner(Conflict):
    """Someone else has taken the job over since: who raises this must stop at once and write nothing more."""

    kind = "stale-owner"
    template = (
        "Replication job {job} was taken over by another worker after epoch {epoch}: this one stops and the other "
        "goes on."
    )


class SourceUnreadable(EngineFailed):
    """The source snapshot cannot be read."""

    kind = "source-unreadable"
    template = (
        "{length:size} at byte {offset} of the source snapshot could not be read ({reason}): check the disks of its "
        "RAID group, then start the job, which goes on from its checkpoint."
    )


class HistoriesDiverged(Conflict):
    """The target's newest recovery point is not one that this source made."""

    kind = "histories-diverged"
    template = (
        "The newest recovery point of the backup VD on {node}, generation {generation}, was not made by this source "
        "(its snapshot is {found}, here it is {known}): nothing was sent; delete this job and create it anew, which "
        "begins with a full copy and keeps the recovery points."
    )


class TargetIsAhead(Conflict):
    """The target has committed a generation later than the one that this cycle carries."""

    kind = "target-is-ahead"
    template = (
        "The backup VD on {node} already holds generation {newest}, later than generation {generation} of this cycle: "
        "nothing was sent; delete this job and create it anew, which begins with a full copy."
    )


class TargetTooSmall(Conflict):
    """The source VD no longer fits in the backup VD."""

    kind = "target-too-small"
    template = (
        "The source VD has {needed:size} and the backup VD at LUN {lun} of {node} only {found:size}: enlarge the "
        "backup VD, or choose one of at least {needed:size}, then start the job."
    )


class WrongDisk(Conflict):
    """The LUN that was logged on to is not the backup VD."""

    kind = "wrong-disk"
    template = (
        "LUN {lun} of {node} is a disk with {what} {found}, not the backup VD ({what} {expected}): nothing was "
        "written; attach the backup VD to that LUN again, then start the job."
    )


class SourceIsBackup(Invalid):
    """Only a VD of type RAID can be replicated."""

    kind = "source-is-backup"
    template = "Virtual disk “{vd}” has type BACKUP: choose a source VD of type RAID."


class SourceIsTestMount(Invalid):
    """A clone that is there for a while."""

    kind = "source-is-test-mount"
    template = (
        "“{vd}” is a test mount of recovery point {generation} of “{origin}”, which is there for a while: promote that "
        "backup VD if hosts are to stay with its copy."
    )


class SourceReplicated(Conflict):
    """The VD has a job, whose snapshots and snapshot space are its own."""

    kind = "source-replicated"
    template = (
        "Virtual disk “{vd}” is the source of replication job “{job}” already: choose another source VD, or delete "
        "that job first."
    )


class SourceRolledBack(Unavailable):
    """The VD is not served until its roll-back has ended."""

    kind = "source-rolled-back"
    template = "Virtual disk “{vd}” is being rolled back to a snapshot: wait until that has ended, then create the job."


class BackupVdRefused(Conflict):
    """The target would refuse the claim of a new job, for a reason that only it knows."""

    kind = "backup-vd-refused"
    template = "Subsystem {subsystem} does not give “{vd}” at LUN {lun} of {node} to a new job: {reason}"


class BackupVdMissing(Invalid):
    """The node shows no VD under that LUN."""

    kind = "backup-vd-missing"
    template = (
        "iSCSI node {node} of subsystem {subsystem} has no virtual disk at LUN {lun} (it has {luns}): attach the "
        "backup VD to that LUN, or choose another one."
    )


class TargetNotBackup(Invalid):
    """The VD under the LUN does not have type BACKUP."""

    kind = "target-not-backup"
    template = (
        "Virtual disk “{vd}” at LUN {lun} of {node} has type {type}: choose a VD of type BACKUP, or create one there."
    )


class BackupVdTooSmall(Invalid):
    """The backup VD cannot hold the source VD."""

    kind = "backup-vd-too-small"
    template = (
        "Backup VD “{vd}” has {found:size} and the source VD needs {needed:size}: choose a backup VD that is at least "
        "as large."
    )


class BackupVdClaimed(Conflict):
    """Another job replicates to the backup VD."""

    kind = "backup-vd-claimed"
    template = (
        "Backup VD “{vd}” at LUN {lun} of {node} is used by replication job {holder} already: choose another backup "
        "VD, or delete that job first."
    )


class NodeLoggedOn(Conflict):
    """QReplica does not log on to the same iSCSI node twice."""

    kind = "node-logged-on"
    template = (
        "Replication job “{job}” is logged on to iSCSI node {node} already, and QReplica does not log on to the same "
        "node twice: attach the backup VD to a LUN of another iSCSI node, one node for each job."
    )


class SnapshotSpaceShort(NoSpace):
    """The RG has no room for the snapshot space that a job needs."""

    kind = "snapshot-space-short"
    template = (
        "There is not enough space for the creation: the snapshot space of “{vd}” needs {needed:size} ({ratio:g} times "
        "its size) and RAID group “{group}” has {free:size} free: free some space there, or set the snapshot space of "
        "“{vd}” to what you can spare before creating the job."
    )


class ChapRequired(Unauthorized):
    """The node has CHAP and none was given."""

    kind = "chap-required"
    template = "iSCSI node {node} asks for CHAP: enter its CHAP name and secret."


class NodeNotOffered(RemoteFailed):
    """The portal does not offer the node."""

    kind = "node-not-offered"
    template = (
        "Subsystem {subsystem} at {address} has no iSCSI node {node} with backup VDs: create one there, or choose one "
        "of {nodes}."
    )


class JobRunning(Conflict):
    """The job is busy."""

    kind = "job-running"
    template = (
        "Replication job “{job}” is {state} already: wait until it has ended, or stop it with “qreplica job stop "
        "{job}” first."
    )


class PathRemoved(Conflict):
    """The administrator removed the path that carries the data."""

    kind = "path-removed"
    template = "Path {path} was removed while data went over it: the cycle goes on over another path of the job."


class PathExists(Conflict):
    """The job has a path to that portal."""

    kind = "path-exists"
    template = "Replication job “{job}” has a path to {path} already: give the address of another iSCSI port."


class PathMissing(NotFound):
    """The job has no path to that portal."""

    kind = "path-missing"
    template = "Replication job “{job}” has no path to {path}: give one of {paths}."


class LastPath(Conflict):
    """A job without a path could never run."""

    kind = "last-path"
    template = (
        "Path {path} is the only one of replication job “{job}”: add another one first, or delete the job if nobody "
        "needs it."
    )


class PathToAnotherSubsystem(Conflict):
    """The new path's address is another subsystem's."""

    kind = "path-to-another-subsystem"
    template = (
        "What answers at {address} is subsystem {found} ({found_id}), and job “{job}” replicates to subsystem "
        "{expected} ({expected_id}): nothing was changed; give the address of an iSCSI port of {expected}."
    )


class PathToAnotherNode(Conflict):
    """The new path leads to a node that is not the job's."""

    kind = "path-to-another-node"
    template = (
        "A path to iSCSI node {found} cannot belong to job “{job}”, which replicates to iSCSI node {expected}: nothing "
        "was changed; choose {expected}."
    )


class PathToAnotherVd(Conflict):
    """The new path leads to a VD that is not the job's backup VD."""

    kind = "path-to-another-vd"
    template = (
        "LUN {found_lun} of iSCSI node {node} at {address} is VD “{found}” (serial number {found_serial}), and job "
        "“{job}” replicates to “{expected}” at LUN {expected_lun} (serial number {expected_serial}): nothing was "
        "changed; choose that VD."
    )


class RpoWrong(Invalid):
    """A goal that a recovery point's age cannot have."""

    kind = "rpo-wrong"
    template = "An RPO goal of {minutes} minutes cannot be: give from 1 minute to 366 days, or none."
