"""Errors of how long recovery points are kept."""

from qreplica.errors import Conflict, Invalid, NotFound


class RetentionWrong(Invalid):
    """A policy that cannot be."""

    kind = "retention-wrong"
    template = "That is no retention of recovery points, because {reason}: choose other numbers."


class RetentionOfRaid(Invalid):
    """Only a backup VD has recovery points."""

    kind = "retention-of-raid"
    template = (
        "Virtual disk {vd} has type RAID and has no recovery points, which are those of backup VDs: name a backup VD, "
        "or see its snapshots with “qreplica snapshot list --vd {vd}”."
    )


class NoSuchRecoveryPoint(NotFound):
    """No recovery point of the name or generation."""

    kind = "no-such-recovery-point"
    template = (
        "Virtual disk {vd} has no recovery point “{point}”: list them with “qreplica recovery-point list {vd}”, and "
        "give the name or the generation of one."
    )


class GenerationAmbiguous(Conflict):
    """Two jobs, one after the other, made points of the same generation."""

    kind = "generation-ambiguous"
    template = (
        "Virtual disk {vd} has recovery points of generation {generation} by more than one replication job: give the "
        "name of one of them, {names}."
    )
