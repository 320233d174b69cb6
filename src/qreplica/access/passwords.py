"""Argon2id hashes of passwords (RFC 9106), a few at a time."""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from qreplica.access.errors import PasswordTooLong, PasswordTooShort

MINIMUM = 12
MAXIMUM = 1024

#: Each hash takes 64 MiB while it is made; more at once would let strangers fill the memory by logging in.
_SLOTS = threading.BoundedSemaphore(2)
_HASHER = PasswordHasher()


def check_length(password: str) -> None:
    """Raise PasswordTooShort or PasswordTooLong. Length is what makes a password strong; no other rule is set."""
    if len(password) < MINIMUM:
        raise PasswordTooShort(length=len(password), minimum=MINIMUM)
    if len(password) > MAXIMUM:
        raise PasswordTooLong(length=len(password), maximum=MAXIMUM)


def hashed(password: str) -> str:
    """Return the hash to keep, with its salt and parameters in it."""
    with _SLOTS:
        return _HASHER.hash(password)


def verified(kept: str | None, password: str) -> bool:
    """Tell whether ``password`` made ``kept``; with None it is False, and takes as long as any other."""
    with _SLOTS:
        if kept is None:
            _HASHER.hash(password)
            return False
        try:
            return _HASHER.verify(kept, password)
        except VerifyMismatchError:
            return False
