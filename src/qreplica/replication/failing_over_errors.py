"""Errors of planned failovers."""

from qreplica.errors import Conflict, Invalid, Unavailable


class FailoverNotConfirmed(Conflict):
    """A planned failover without the word that stands for having read what it does."""

    kind = "failover-not-confirmed"
    template = (
        "Failing over “{job}” does this: {what}. Say that you want it by naming the source virtual disk once more "
        "(“confirm”: “{vd}”)."
    )


class FailoverUnderWay(Conflict):
    """What was asked for cannot be done while the job fails over."""

    kind = "failover-under-way"
    template = (
        "Replication job “{job}” is failing over (step “{step}”): wait until that has ended, or call it off with "
        "“qreplica job failover {job} --cancel” first."
    )


class NothingUnderWay(Conflict):
    """There is no failover that could be called off."""

    kind = "no-failover-under-way"
    template = (
        "Replication job “{job}” is not failing over, so that there is nothing to call off: “qreplica job show {job}” "
        "tells what it does."
    )


class NoCopyToPromote(Conflict):
    """The target is another maker's disk, or has no copy yet."""

    kind = "no-copy-to-promote"
    template = "Replication job “{job}” cannot fail over because {reason}."


class BackupNotProtected(Invalid):
    """No host can write to a backup VD anyway."""

    kind = "backup-not-protected"
    template = (
        "Virtual disk “{vd}” has type BACKUP, to which no host can write: only one of type RAID is write-protected."
    )


class LastCycleEnded(Conflict):
    """The last cycle of a failover ended without success."""

    kind = "last-cycle-ended"
    template = (
        "The last cycle of “{job}” before its failover has not come to its end, the job is {state} ({reason}): mend "
        "that and start the job, or call the failover off with “qreplica job failover {job} --cancel”."
    )


class WrittenSince(Conflict):
    """The source VD, which hosts could only read, is not what was copied last."""

    kind = "written-since-last-cycle"
    template = (
        "“{vd}” differs in {changed} from generation {generation}, with which its copy was promoted, though hosts "
        "could only read it: have it give way with “qreplica job give-way {job}”, which keeps that as a snapshot."
    )


class FailoverDecided(Unavailable):
    """The copy may have been promoted already, so that hosts must not write here again."""

    kind = "failover-decided"
    template = (
        "The failover of “{job}” cannot be called off, since its copy may be promoted already and the target does not "
        "say that it is not ({reason}): it goes on by itself as soon as the target can be reached. If that is gone for "
        "good, call the failover off with --force."
    )
