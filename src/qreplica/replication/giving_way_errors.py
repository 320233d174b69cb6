"""Errors of giving way to a copy that was promoted."""

from qreplica.errors import Conflict


class JobNotSuperseded(Conflict):
    """Its copy was not promoted, as far as the job knows."""

    kind = "job-not-superseded"
    template = (
        "Replication job “{job}” is {state}: only one that is superseded gives way; promote its copy on the target, "
        "then start the job once, so that it learns of that."
    )


class NothingInCommon(Conflict):
    """No generation is left that both sides hold."""

    kind = "nothing-in-common"
    template = (
        "“{vd}” holds no snapshot of a generation that “{other}” on the other side still has: delete job “{job}”, and "
        "make a new backup VD here and a job in the other direction, which makes a full copy."
    )


class StillAttached(Conflict):
    """Hosts could still use the VD."""

    kind = "still-attached"
    template = (
        "“{vd}” is LUN {lun} of iSCSI node {node}, and hosts could still write to it: detach it there, then give way."
    )


class GiveWayNotConfirmed(Conflict):
    """Giving way without the word that stands for having read what it takes out of use."""

    kind = "give-way-not-confirmed"
    template = (
        "“{vd}” goes back to generation {generation}, and a snapshot keeps {loss}: say that you want this by naming "
        "the virtual disk once more (“confirm”: “{vd}”)."
    )
