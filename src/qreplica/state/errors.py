"""Errors of the state database."""

from qreplica.errors import Conflict, EngineFailed, NoSpace, Unavailable


class StateDiskFull(NoSpace):
    """The file system of the state database is full."""

    kind = "state-disk-full"
    template = (
        "The state was not written because the disk that holds {place} is full ({free:size} free): free some space "
        "there; nothing was changed, and what waits goes on by itself."
    )


class StateBusy(Unavailable):
    """Another process holds the database."""

    kind = "state-busy"
    template = (
        "The state database {place} is held by another process ({reason}): try again; if it lasts, the log of "
        "qreplicad tells which one."
    )


class StateReadOnly(EngineFailed):
    """The database cannot be written."""

    kind = "state-read-only"
    template = (
        "The state database {place} was not changed because it can only be read ({reason}): see that its file system "
        "is mounted for writing, and try again."
    )


class StateDamaged(EngineFailed):
    """The database cannot be read or written."""

    kind = "state-damaged"
    template = (
        "The state database {place} cannot be used because {reason}: restore it from a copy, and start qreplicad again."
    )


class StateTooNew(Conflict):
    """A newer version has written the database."""

    kind = "state-too-new"
    template = (
        "The state database {place} was written by a newer version (revision {revision}): start that version of "
        "qreplicad."
    )


class SecretUnreadable(EngineFailed):
    """A stored secret does not fit the key."""

    kind = "stored-secret-unreadable"
    template = (
        "A secret in the state database cannot be decrypted because it was damaged or written with another secrets "
        "key: restore the secrets.key that belongs to the database, and start qreplicad again."
    )
