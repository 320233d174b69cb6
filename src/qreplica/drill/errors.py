"""What can go wrong with a drill; each is a finding about the product, or about the drill."""

from qreplica.errors import EngineFailed, Invalid


class NoSuchDrill(Invalid):
    """No drill has that name."""

    kind = "no-such-drill"
    template = "There is no drill “{name}”: choose from {known}."


class NeedsOwnLab(Invalid):
    """The drill would harm more of a lab than what is made for drills."""

    kind = "drill-needs-own-lab"
    template = "Drill “{name}” needs a lab that is made for it: play it with “./run drill {name}”."


class DrillStuck(EngineFailed):
    """Something that a drill waits for did not happen."""

    kind = "drill-stuck"
    template = "Drill “{drill}” waited {seconds:.0f} s for {what}, in vain ({now}): read the logs below {directory}."


class FaultTooLate(EngineFailed):
    """The machine replicates faster than it can be broken."""

    kind = "drill-fault-too-late"
    template = (
        "In each of {tries} tries of drill “{drill}” the cycle was over before the fault came: report it, please."
    )


class HostFailed(EngineFailed):
    """The host of a drill could not go on."""

    kind = "drill-host-failed"
    template = "The host of the drill ended: {reason}"
