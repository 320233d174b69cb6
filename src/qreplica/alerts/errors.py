"""Errors of alert channels."""

from qreplica.errors import Conflict, Invalid, RemoteFailed


class AlertChannelExists(Conflict):
    """The name of a channel is taken."""

    kind = "alert-channel-exists"
    template = "There is an alert channel “{name}” already: choose another name, or delete that one."


class AlertSecretNeeded(Invalid):
    """A channel that logs in has no password."""

    kind = "alert-secret-needed"
    template = "The mail server asks for the password of “{user}”, and there is none: give one, or leave the user out."


class AlertNotSent(RemoteFailed):
    """A channel could not be told."""

    kind = "alert-not-sent"
    template = "Alert channel “{name}” cannot be told by {way} because {reason}: check its settings and that it runs."
