"""Errors of the initiator: logging in to another subsystem's node, and commands to its LUNs."""

from qreplica.errors import Conflict, Invalid, RemoteFailed


class PortalInvalid(Invalid):
    """What was given is not the address of a portal."""

    kind = "portal-invalid"
    template = "“{address}” with port {port} is not a portal: give an IP address and a TCP port from 1 to 65535."


class IscsiNameInvalid(Invalid):
    """A name that no initiator or node can have."""

    kind = "iscsi-name-invalid"
    template = (
        "“{name}” is not an iSCSI name: write iqn., a year-month, a reversed domain, and a name after a colon, "
        "such as iqn.2024-05.com.example:backup (at most 223 characters)."
    )


class ChapInvalid(Invalid):
    """A CHAP name or secret, or a combination of them, that can never work."""

    kind = "chap-invalid"
    template = "The CHAP information cannot be used because {reason}: correct it and try again."


class InterfaceUnusable(Invalid):
    """The network interface that a session should be bound to cannot be used."""

    kind = "interface-unusable"
    template = "The session cannot be bound to interface {interface}: check that a port of that name exists here."


class PortalUnreachable(RemoteFailed):
    """No iSCSI conversation came about with a portal."""

    kind = "portal-unreachable"
    template = (
        "Portal {portal} cannot be reached because {reason}: check the address, the cable, and that the target runs."
    )


class NotIscsi(RemoteFailed):
    """What answers is not an iSCSI target."""

    kind = "not-iscsi"
    template = "What answers at {portal} is not an iSCSI target ({reason}): check the address and the port."


class LoginRefused(RemoteFailed):
    """The target refused the login for a reason of its own."""

    kind = "login-refused"
    template = "Node {node} at {portal} refused the login ({reason}): look at the target subsystem's event log."


class ChapRefused(LoginRefused):
    """The target did not accept the CHAP name and secret, or wanted some and got none."""

    kind = "chap-refused"
    template = "Node {node} at {portal} refused the CHAP information ({given}): enter the node's CHAP name and secret."


class InitiatorNotAdmitted(LoginRefused):
    """The target's access control does not admit this initiator name."""

    kind = "initiator-not-admitted"
    template = "Node {node} at {portal} does not admit initiator {initiator}: add it to the node's initiators."


class NodeUnknown(LoginRefused):
    """The portal offers no such node, or (tgtd says the same then) the node does not admit the initiator."""

    kind = "node-unknown"
    template = (
        "Portal {portal} offers no iSCSI node {node} to initiator {initiator}: check the node's name, and that it "
        "admits this initiator."
    )


class TargetUnproven(LoginRefused):
    """Mutual CHAP failed: the target did not prove that it knows the secret."""

    kind = "target-unproven"
    template = (
        "Node {node} at {portal} did not prove that it knows the mutual CHAP name and secret, so it may be an "
        "impostor: enter the same mutual CHAP information on both sides."
    )


class SessionLost(RemoteFailed):
    """The session with a node has ended; it never comes back by itself."""

    kind = "session-lost"
    template = (
        "The iSCSI session with {node} at {portal} has ended because {reason}: check the path, then connect again."
    )


class CommandFailed(RemoteFailed):
    """A target did not execute a command. ``sense_key`` and ``asc_ascq`` are 0 where it gave no sense data."""

    kind = "command-failed"
    template = (
        "{operation} on LUN {lun} of {node} at {portal} failed ({sense}): look at the target subsystem's event log."
    )

    @property
    def sense_key(self) -> int:
        """The sense key (SPC-4, 4.5.6)."""
        return int(self.fields.get("sense_key", 0))

    @property
    def asc_ascq(self) -> int:
        """The additional sense code and its qualifier as one 16-bit number."""
        return int(self.fields.get("asc_ascq", 0))


class LunMissing(CommandFailed):
    """The node has no such LUN."""

    kind = "remote-lun-missing"
    template = "Node {node} at {portal} has no LUN {lun}: attach the virtual disk to that LUN, or choose another one."


class LunReplaced(CommandFailed):
    """Behind the LUN there is another disk than when the session first met it."""

    kind = "lun-replaced"
    template = (
        "LUN {lun} of {node} at {portal} is another disk now than when the session began ({operation} found out): "
        "check which virtual disk is attached."
    )


class ReservationConflict(CommandFailed):
    """Another initiator holds a reservation on the LUN."""

    kind = "reservation-conflict"
    template = (
        "{operation} on LUN {lun} of {node} at {portal} is barred by another host's reservation: release it there."
    )


class TargetBusy(CommandFailed):
    """The target had no room for the command, also after waiting."""

    kind = "target-busy"
    template = "{operation} on LUN {lun} of {node} at {portal} found the target busy ({sense}): try again later."


class WriteProtected(CommandFailed):
    """The LUN takes no writes."""

    kind = "write-protected"
    template = (
        "{operation} on LUN {lun} of {node} at {portal} is refused because the LUN is read-only: attach it read-write."
    )


class OutOfRange(Invalid):
    """A range of bytes goes beyond the end of the disk."""

    kind = "out-of-range"
    template = "LUN {lun} has {size:size} and {length:size} at byte {offset} are beyond its end: ask for less."


class Misaligned(Invalid):
    """A range of bytes is not made of whole blocks."""

    kind = "misaligned"
    template = (
        "LUN {lun} has blocks of {block} bytes and {length} bytes at byte {offset} are not whole ones: align the range."
    )


class TransferTooLong(Invalid):
    """One command cannot carry as much."""

    kind = "transfer-too-long"
    template = "LUN {lun} takes at most {most:size} in one {operation} and {length:size} were asked for: split it."


class QueueFull(Conflict):
    """All commands that a session can hold are in flight."""

    kind = "queue-full"
    template = "The session with {node} at {portal} holds {depth} commands already: collect completions first."
