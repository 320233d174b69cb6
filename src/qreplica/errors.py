"""The error that every part raises: a sentence for people, an RFC 9457 problem for HTTP, an exit code for the CLI.

Each domain package keeps its own errors in its ``errors.py``; a class names its category by inheritance (one of
the categories below) and gives a ``kind`` and a ``template``. The sentence says what happened, why, and what to do.
"""

import string
from typing import Any, ClassVar


class _Sentence(string.Formatter):
    """``str.format`` with one more format: ``{needed:size}`` writes bytes with a binary unit."""

    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401 - the base class's signature
        if format_spec == "size":
            from qreplica.units import format_size  # noqa: PLC0415 - units raises our errors

            return format_size(value)
        return str(super().format_field(value, format_spec))


class QReplicaError(Exception):
    """Base of all expected failures.

    ``kind`` is the stable name used in problem bodies, logs and tests; ``status`` the HTTP status; ``exit_code``
    the CLI's. ``template`` is filled with the keyword arguments, which stay available in ``fields`` (sizes in
    bytes, no secrets).
    """

    kind: ClassVar[str] = "error"
    title: ClassVar[str] = "The operation failed"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    template: ClassVar[str] = "{reason}"

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - whatever the template names
        self.fields = fields
        super().__init__(_Sentence().format(self.template, **fields))

    @property
    def sentence(self) -> str:
        """The message for people."""
        return str(self)

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem details body."""
        return {
            "type": f"urn:qreplica:error:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.sentence,
            "fields": {
                name: value if isinstance(value, int | float | bool) else str(value)
                for name, value in self.fields.items()
            },
        }


class Invalid(QReplicaError):
    """What was asked for can never be right: a bad name, size, address, combination."""

    kind = "invalid"
    title = "The request is not valid"
    status = 422
    exit_code = 2


class NotFound(QReplicaError):
    """What was named does not exist."""

    kind = "not-found"
    title = "No such object"
    status = 404
    exit_code = 3
    template = "There is no {what} “{name}”: list those that exist with “qreplica {noun} list”."


class Conflict(QReplicaError):
    """The present state forbids it: in use, already there, running."""

    kind = "conflict"
    title = "The present state forbids this"
    status = 409
    exit_code = 4


class NoSpace(QReplicaError):
    """Not enough space was left for what was asked."""

    kind = "no-space"
    title = "Not enough space"
    status = 507
    exit_code = 5


class Unauthorized(QReplicaError):
    """The caller did not prove who it is."""

    kind = "unauthorized"
    title = "Not authorised"
    status = 401
    exit_code = 6


class RemoteFailed(QReplicaError):
    """The other subsystem, or the way to it, failed or refused."""

    kind = "remote-failed"
    title = "The other subsystem failed or refused"
    status = 502
    exit_code = 7


class EngineFailed(QReplicaError):
    """An engine below us (btrfs, tgtd, the kernel, a disk) failed."""

    kind = "engine-failed"
    title = "A storage engine failed"
    status = 500
    exit_code = 8


class Unavailable(QReplicaError):
    """Not possible just now; the same request may succeed later."""

    kind = "unavailable"
    title = "Not possible at the moment"
    status = 503
    exit_code = 9
