"""Secrets that lie as files in the state directory, for whoever has root on the subsystem."""

import hmac
import os
import secrets
from pathlib import Path

#: Proves, once, that who sets the subsystem up has root on it.
SETUP = "setup-secret"
#: Lets a monitoring system read the metrics and nothing else.
METRICS = "metrics-token"


def make_once(file: Path) -> None:
    """Write a secret (256 random bits, mode 0600) to ``file`` unless it exists; two daemons may try at once."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_urlsafe(32) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def matches(file: Path, given: str) -> bool:
    """Tell in constant time whether ``given`` is the secret in ``file``; no file, or an empty one, matches nothing."""
    try:
        secret = file.read_text().strip()
    except FileNotFoundError:
        return False
    return bool(secret) and hmac.compare_digest(secret.encode(), given.strip().encode())
