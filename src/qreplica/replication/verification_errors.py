"""Errors of verifications."""

from qreplica.errors import Conflict, Invalid, Unavailable


class NothingToVerify(Conflict):
    """There is no recovery point that could be verified."""

    kind = "nothing-to-verify"
    template = "The copy of replication job “{job}” cannot be verified because {reason}."


class PointAwaited(Unavailable):
    """The target has let the point go, and the job does not know of a later one yet."""

    kind = "point-awaited"
    template = (
        "The target holds no recovery point of generation {generation} any more, and replication job “{job}”, which is "
        "{state}, has not noted a later one: the verification goes on as soon as it has."
    )


class NothingToRepair(Conflict):
    """No verification has found anything wrong."""

    kind = "nothing-to-repair"
    template = (
        "There is nothing to repair of replication job “{job}”, whose last verification is “{state}”: verify its copy "
        "with “qreplica job verify {job}”, which tells what differs."
    )


class RepairUnderWay(Conflict):
    """What was found wrong is still to be sent."""

    kind = "repair-under-way"
    template = (
        "The copy of replication job “{job}” is still to be repaired by its next cycle: wait until that is committed, "
        "then verify it again."
    )


class VerificationScheduleInvalid(Invalid):
    """A number of days that makes no schedule."""

    kind = "verification-schedule-invalid"
    template = "A copy cannot be verified every {days} days: give 1 to {most}, or none."
