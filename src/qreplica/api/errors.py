"""Errors that only the API itself raises."""

from qreplica.errors import Invalid, NotFound, QReplicaError


class RequestInvalid(Invalid):
    """The request does not have the form that the operation takes."""

    kind = "request-invalid"
    template = "The request is not valid at {place} ({reason}): correct it and send it again; nothing was changed."


class RequestTooLarge(Invalid):
    """A body larger than any that an operation takes."""

    kind = "request-too-large"
    status = 413
    template = "The request's body is larger than {limit:size}, which no operation takes: nothing was done with it."


class NoSuchRoute(NotFound):
    """A path, or a method of it, that the API does not have."""

    kind = "no-such-route"
    template = "{method} {path} is not part of this API: see /api/v1/openapi.json for what is."


class InternalError(QReplicaError):
    """A fault of ours; the log has the whole story under the incident's id."""

    kind = "internal-error"
    title = "Internal error"
    template = (
        "The subsystem failed by a fault of its own: look for incident {incident} in the log of controller "
        "{controller}, and report it."
    )
