"""The key that encrypts secrets at rest: a file that only root reads, made at the first start."""

import contextlib
import os
import stat
from pathlib import Path

from cryptography.fernet import Fernet

from qreplica.errors import EngineFailed
from qreplica.state.types import Secret

_FILE = "secrets.key"


class SecretsKeyUnusable(EngineFailed):
    """The key file cannot be trusted or read."""

    kind = "secrets-key-unusable"
    template = "The secrets key {file} cannot be used because {reason}: correct that and start qreplicad again."


def unlock(state_dir: Path) -> None:
    """Load the key of ``state_dir``, making it when there is none; two controllers may do so at once.

    Raises SecretsKeyUnusable when it cannot be made or read, when others than its owner could, or when it is no key.
    """
    file = state_dir / _FILE
    try:
        if not file.exists():
            _make(file)
        if stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise SecretsKeyUnusable(file=file, reason="others than its owner may read it (its mode must be 0600)")
        key = file.read_bytes().strip()
    except OSError as error:
        raise SecretsKeyUnusable(file=file, reason=error.strerror) from error
    try:
        Secret.unlock(key)
    except ValueError as error:
        raise SecretsKeyUnusable(file=file, reason="it does not hold a key") from error


def _make(file: Path) -> None:
    """Write a fresh key whole or not at all: to a file of its own, which is then linked unless one is there."""
    own = file.with_name(f".{_FILE}.{os.getpid()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(Fernet.generate_key() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(own, file)
    finally:
        own.unlink()
    _make_entry_durable(file.parent)


def _make_entry_durable(directory: Path) -> None:
    """Write the directory out: what is encrypted under a key that a loss of power takes away is lost."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
