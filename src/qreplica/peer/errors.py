"""Errors of the peer conversation."""

from qreplica.errors import Conflict, Invalid, NotFound, QReplicaError, RemoteFailed, Unauthorized


class NoSuchNode(NotFound):
    """The target has no such node."""

    kind = "no-such-node"
    template = "There is no iSCSI node {node} on this subsystem: list its nodes and choose one of them."


class WrongChap(Unauthorized):
    """The request was not signed with the node's CHAP name and secret."""

    kind = "wrong-chap"
    template = "iSCSI node {node} did not accept CHAP name “{user}”: enter the name and secret that the node has."


class ChapNeeded(Unauthorized):
    """The node has CHAP and the request carried none."""

    kind = "chap-needed"
    template = "iSCSI node {node} asks for CHAP: enter its CHAP name and secret."


class ChapNotUsed(Unauthorized):
    """The request was signed with CHAP and the node has none."""

    kind = "chap-not-used"
    template = (
        "iSCSI node {node} has no CHAP to check a name and secret with: leave both empty, or set CHAP on the node."
    )


class PairingNeeded(Unauthorized):
    """The node is paired and the request carried no pairing secret."""

    kind = "pairing-needed"
    template = (
        "iSCSI node {node} is paired with another job: reset the node's pairing on the target subsystem, or use "
        "another node."
    )


class WrongPairing(Unauthorized):
    """The request was signed with a pairing secret that the node does not know."""

    kind = "wrong-pairing"
    template = (
        "iSCSI node {node} does not know this job's pairing (it was reset, or the node made anew): pair the job again."
    )


class ClockSkew(Unauthorized):
    """The two clocks differ too much to tell a fresh request from a repeated one."""

    kind = "clock-skew"
    template = (
        "The source subsystem's clock is {seconds} s {direction} the target's, and at most {window} s are allowed: "
        "set both clocks, best by NTP."
    )


class RequestReplayed(Unauthorized):
    """The request was seen before."""

    kind = "request-replayed"
    template = (
        "This very request was already received once and is not obeyed again: send it anew with a fresh signature."
    )


class SignatureMalformed(Unauthorized):
    """The Authorization header is not one of ours."""

    kind = "signature-malformed"
    template = "The request's signature cannot be read: use a QReplica source of the same version."


class MessageInvalid(Invalid):
    """A message does not have the agreed form."""

    kind = "message-invalid"
    template = "The message is not as agreed ({reason}): use the same version of QReplica on both subsystems."


class MessageTooLarge(Invalid):
    """A message is larger than any that the conversation knows."""

    kind = "message-too-large"
    status = 413
    template = "The message is larger than {limit:size}, which none of the conversation is: nothing was done with it."


class MessageTooSlow(Invalid):
    """A message did not arrive in time."""

    kind = "message-too-slow"
    status = 408
    template = "The message was not complete after {seconds} s: check the network and send it again."


class NoSuchRoute(NotFound):
    """A request that the conversation does not know."""

    kind = "peer-no-such-route"
    template = (
        "{method} {path} is not part of the peer conversation: use the same version of QReplica on both subsystems."
    )


class PeerInternalError(QReplicaError):
    """A fault of ours on the target."""

    kind = "peer-internal-error"
    title = "Internal error"
    template = "The target subsystem failed by a fault of its own ({error}): see its log; the job may be started again."


class PeerBusy(Conflict):
    """Another request changed the same thing at the same moment."""

    kind = "peer-busy"
    template = "Another request for backup VD “{vd}” came between: send the request again."


class PeerFailed(RemoteFailed):
    """The other subsystem gave no answer, or none with sense; it may have obeyed even so. Another path may work."""

    kind = "peer-failed"


class PeerUnreachable(PeerFailed):
    """No answer came."""

    kind = "peer-unreachable"
    template = (
        "The target subsystem at {address}:{port} cannot be reached because {reason}: check the address, the cable of "
        "that iSCSI port and that the subsystem runs."
    )


class PeerAnswersGarbage(PeerFailed):
    """Something answered, but not as a QReplica target that knows the node's secret."""

    kind = "peer-answers-garbage"
    template = (
        "What answers at {address}:{port} does not answer as the target subsystem ({reason}): check that the address "
        "is that of its iSCSI port and that both run the same version of QReplica."
    )


class RemoteRefused(RemoteFailed):
    """The target refused, for a reason that has no class of its own here; ``remote_kind`` is its name."""

    kind = "remote-refused"
    template = "The target subsystem at {address} refused: {sentence}"
