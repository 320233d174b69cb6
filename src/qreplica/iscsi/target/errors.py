"""Errors of the iSCSI target side; the drivers, the supervisor and the pause raise these."""

from qreplica.errors import Conflict, EngineFailed, Invalid, NotFound, Unavailable


class NodeSpecInvalid(Invalid):
    """A desired state that no target daemon can be brought to."""

    kind = "node-spec-invalid"
    template = "The iSCSI node {iqn} cannot be made because {reason}: correct that and try again."


class NodeMissing(NotFound):
    """The target daemon has no such node."""

    kind = "node-missing"
    template = "The target daemon has no iSCSI node {iqn}: it was removed, or is not made yet; try again in a moment."


class LunMissing(NotFound):
    """The node has no such LUN."""

    kind = "lun-missing"
    template = "The iSCSI node {iqn} has no LUN {lun}: list what is attached with “qreplica lun list”."


class LunFileUnusable(EngineFailed):
    """The file of a LUN cannot be opened as asked."""

    kind = "lun-file-unusable"
    template = "LUN {lun} of {iqn} cannot use {path} because {reason}: check that its RAID group is open."


class TidTaken(Conflict):
    """Another node has the number."""

    kind = "tid-taken"
    template = "Number {tid} for {iqn} is already used by {owner} in the target daemon: choose another number."


class FenceNeedsNewTid(Invalid):
    """A fence with the old number would let a half-done login through."""

    kind = "fence-needs-new-tid"
    template = "The fence of {iqn} must give it a number other than its present {tid}: choose a new random one."


class AccountTaken(Conflict):
    """tgtd's accounts are global: one CHAP name has one secret in the whole daemon."""

    kind = "account-taken"
    template = (
        "The CHAP name “{user}” for {iqn} is already used by {owner} with another secret, and a name can "
        "have only one on a controller: choose another CHAP name, or give both the same secret."
    )


class FencingTimedOut(Unavailable):
    """Old sessions still run commands; nobody is admitted meanwhile."""

    kind = "fencing-timed-out"
    template = (
        "The iSCSI node {iqn} still has {count} session(s) with commands running after {seconds} s and "
        "admits nobody: look at its disks, which hang or are slow, and try again."
    )


class PortalUnusable(Unavailable):
    """The target daemon could not listen on an address."""

    kind = "portal-unusable"
    template = (
        "The target daemon cannot listen on {address}:{port}: the address is not on this controller, or "
        "another program uses the TCP port; see “qreplica port list”."
    )


class TargetDaemonDown(Unavailable):
    """Nobody answers on the control port."""

    kind = "target-daemon-down"
    template = (
        "The target daemon with control port {control_port} is not running ({reason}): it is started again "
        "by itself; try again in a moment."
    )


class TargetDaemonSilent(Unavailable):
    """It took the request and did not answer; whether the request was carried out is not known."""

    kind = "target-daemon-silent"
    template = (
        "The target daemon with control port {control_port} did not answer “{action}” within {seconds} s: "
        "it is paused or a disk hangs; try again in a moment."
    )


class TargetCommandFailed(EngineFailed):
    """The target daemon refused a command; ``code`` is its number for the reason (see mgmt.Refusal)."""

    kind = "target-command-failed"
    template = "The target daemon refused “{action}”, giving “{reason}”: see its log lines for the cause."


class TargetAnswerUnknown(EngineFailed):
    """The target daemon answered something that we cannot read."""

    kind = "target-answer-unknown"
    template = (
        "The target daemon's answer to “{action}” is not understood ({reason}): use tgt 1.0.85, which this "
        "version was made for."
    )


class TargetDaemonFailed(EngineFailed):
    """The target daemon did not start, or could not be ended."""

    kind = "target-daemon-failed"
    template = (
        "The target daemon with control port {control_port} {what} ({reason}): correct that; it is then "
        "started again by itself."
    )


class ControlPortTaken(Conflict):
    """A process that is no tgtd of ours holds the control port."""

    kind = "control-port-taken"
    template = (
        "Control port {control_port} is held by process {pid} ({command}), which is not a tgtd with that "
        "port: end it, or set another tgt_control_port."
    )


class PauseTimedOut(Unavailable):
    """A target daemon could not be stopped in time; it runs again."""

    kind = "pause-timed-out"
    template = (
        "The target daemon (process {pid}) had commands running after {seconds} s and was not paused: its "
        "disks are slow; try the snapshot again."
    )


class PauseBusy(Unavailable):
    """Another snapshot holds the pause."""

    kind = "pause-busy"
    template = "Another snapshot has held the target daemon of {pid_file} for {seconds} s: try again in a moment."
