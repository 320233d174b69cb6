"""What may be a name, an IQN, a CHAP name or secret, a path: checked before anything else happens."""

import re
from pathlib import Path

from qreplica.errors import Invalid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: RFC 7143, 4.2.7: at most 223 bytes; of the characters of RFC 3722, those that need no preparation.
_IQN = re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-z0-9.:-]+)?")
_LONGEST_IQN = 223
#: As initiators send them: some keep capitals and underscores. A comma separates fields in tgtd's requests.
_INITIATOR = re.compile(
    r"iqn\.[0-9]{4}-[0-9]{2}\.[!-+\--~]{1,211}|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})"
)
_CHAP_USER = re.compile(r"[!-+\--~]{1,64}")
#: RFC 7143, 12.1.2 and 9.2.1: a secret of less than 96 bits may be guessed off line.
SHORTEST_SECRET = 12
LONGEST_SECRET = 64
#: PATH_MAX less the final NUL, and NAME_MAX, of limits.h.
_LONGEST_PATH, _LONGEST_PART = 4095, 255
_CHAP_SECRET = re.compile(r"[\x21-\x7e]*")


class NotAName(Invalid):
    """A name that cannot be one."""

    kind = "not-a-name"
    template = (
        "“{name}” cannot name a {what}: use at most 63 lower-case letters, digits, “.”, “_” and “-”, "
        "beginning with a letter or digit."
    )


class NotAnIqn(Invalid):
    """A text that cannot name an iSCSI node."""

    kind = "not-an-iqn"
    template = (
        "“{iqn}” cannot name an iSCSI node: write one such as iqn.2026-11.org.example:disks-1, of lower-case letters, "
        "digits, “.”, “:” and “-” (RFC 7143, 4.2.7)."
    )


class NotAnInitiator(Invalid):
    """A text that is no initiator's name."""

    kind = "not-an-initiator"
    template = (
        "“{name}” is not an initiator name: write it as the initiator tells it, such as iqn.1993-08.org.debian:01:host "
        "(RFC 7143, 4.2.7)."
    )


class ChapNameInvalid(Invalid):
    """A CHAP name that cannot be used."""

    kind = "chap-name-invalid"
    template = "“{user}” cannot be a CHAP name: use 1 to 64 printable ASCII characters, no space or comma."


class ChapSecretInvalid(Invalid):
    """A CHAP secret that cannot be used; the secret itself is never told."""

    kind = "chap-secret-invalid"
    template = (
        "The CHAP secret cannot be used because it has {length} characters or others than printable ASCII without "
        "spaces: choose {shortest} to {longest} (RFC 7143, 12.1.2)."
    )


class ChapIncomplete(Invalid):
    """A CHAP name without a secret, or mutual CHAP without CHAP."""

    kind = "chap-incomplete"
    template = "CHAP cannot be set because {reason}: give name and secret together, and mutual CHAP only with CHAP."


class PathInvalid(Invalid):
    """A path that may not be used."""

    kind = "path-invalid"
    template = "“{path}” cannot be used because {reason}: give an absolute path without “..” to a place that exists."


def check_name(name: str, what: str) -> str:
    """Return ``name``. Raises NotAName; ``what`` says of what, such as ``virtual disk``."""
    if not _NAME.fullmatch(name):
        raise NotAName(name=name, what=what)
    return name


def check_iqn(iqn: str) -> str:
    """Return ``iqn``, the name of a node of ours. Raises NotAnIqn."""
    if len(iqn) > _LONGEST_IQN or not _IQN.fullmatch(iqn):
        raise NotAnIqn(iqn=iqn)
    return iqn


def check_initiator(name: str) -> str:
    """Return the initiator name ``name`` (iqn, eui or naa). Raises NotAnInitiator."""
    if not _INITIATOR.fullmatch(name):
        raise NotAnInitiator(name=name)
    return name


def check_chap(user: str | None, secret: str | None) -> None:
    """Check a CHAP name and its secret; both None is no CHAP.

    Raises ChapNameInvalid, ChapSecretInvalid, ChapIncomplete.
    """
    if user is None and secret is None:
        return
    if user is None or secret is None:
        raise ChapIncomplete(reason="the name or the secret is missing")
    if not _CHAP_USER.fullmatch(user):
        raise ChapNameInvalid(user=user)
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET or not _CHAP_SECRET.fullmatch(secret):
        raise ChapSecretInvalid(length=len(secret), shortest=SHORTEST_SECRET, longest=LONGEST_SECRET)


def check_path(path: str) -> Path:
    """Return ``path`` as a Path. Raises PathInvalid unless absolute, free of ``..`` and control characters."""
    if not path.startswith("/"):
        raise PathInvalid(path=path, reason="it is not absolute")
    if ".." in path.split("/") or any(not character.isprintable() for character in path):
        raise PathInvalid(path=path, reason="it holds “..” or characters that cannot be printed")
    if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in path.split("/")):
        raise PathInvalid(path=path, reason="it, or a name in it, is too long")
    return Path(path)
