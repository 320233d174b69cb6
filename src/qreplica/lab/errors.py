"""What can go wrong with a lab."""

from qreplica.errors import Conflict, EngineFailed, Invalid, Unavailable


class LabIdInvalid(Invalid):
    """A lab's id becomes part of names of namespaces and directories."""

    kind = "lab-id-invalid"
    template = "“{id}” cannot be a lab's id: use 1 to 24 lower-case letters and digits."


class LabCannotBe(Unavailable):
    """The machine lacks what a lab is made of."""

    kind = "lab-cannot-be"
    template = "A lab cannot be made here because {reason}."


class LabExists(Conflict):
    """One lab an id."""

    kind = "lab-exists"
    template = (
        "Lab “{id}” is up already, in {directory}: look at it with “./run lab status”, remove it with “./run lab down”."
    )


class LabMissing(Conflict):
    """There is no such lab, or what is left of one does not work."""

    kind = "lab-missing"
    template = "Lab “{id}” is not up: make it with “./run lab up”."


class CommandFailed(EngineFailed):
    """A program that a lab is built with did not do its work."""

    kind = "lab-command-failed"
    template = "“{command}” failed: {reason}. “./run lab down” removes what there is; then try again."


class DaemonNotReady(EngineFailed):
    """A controller's daemon did not become ready, or ended."""

    kind = "lab-daemon-not-ready"
    template = "qreplicad of controller {controller} of “{subsystem}” {what}; the end of its log {log}: {reason}"


class SweepIncomplete(EngineFailed):
    """Something of a lab could not be removed."""

    kind = "sweep-incomplete"
    template = "Not everything in {directory} could be removed: {left}. Do it again in a while with “./run lab down”."


class TreeTooSmall(Unavailable):
    """The machine has not enough files to make a filesystem of."""

    kind = "tree-too-small"
    template = "There are only {found:size} of files below {roots}, less than {wanted:size}: ask for a smaller tree."


class CopyDiffers(EngineFailed):
    """The copy is not what was replicated: a defect, since a cycle commits only what arrived."""

    kind = "copy-differs"
    template = "The copy differs from its source ({what}): this must never be: keep the lab and report it."


class LicenseMatterless(EngineFailed):
    """A license did not decide what it should: a defect."""

    kind = "demo-license-matterless"
    template = "The license does not do what it should ({what}): this must never be: keep the lab and report it."


class TrafficElsewhere(EngineFailed):
    """Data of a cycle did not keep to the QReplica port: a defect."""

    kind = "demo-traffic-elsewhere"
    template = (
        "Of {carried:size} that a cycle sent, the QReplica ports sent {ours:size}, and other ports {others:size}: this "
        "must never be: keep the lab and report it."
    )


class LabStuck(EngineFailed):
    """Something that a lab waits for did not happen."""

    kind = "lab-stuck"
    template = "The lab waited {seconds:.0f} s for {what}, in vain: read the logs in its directory."


class TroubleTooLate(EngineFailed):
    """The machine replicates faster than it can be broken."""

    kind = "demo-trouble-too-late"
    template = (
        "Job “{job}” was done before a controller of each side could be killed in its middle: give the demo more to "
        "replicate, with --tree."
    )
