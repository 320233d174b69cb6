"""The logins that this user has, kept in one file that only the user can read."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from qreplica.cli.errors import CredentialsDamaged, NoSuchLogin


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """A login to the subsystem at ``url``; ``name`` is what ``--on`` calls it, ``also`` is where else it answers.

    ``pins``, ``coming`` and ``ca_file`` are what it is known by, see ``trust.Trust``.
    """

    url: str
    user: str
    token: str = field(repr=False)
    expires_at: str
    name: str | None = None
    also: Sequence[str] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    coming: Sequence[str] = ()


def file() -> Path:
    """Return the place of the file: ``$XDG_CONFIG_HOME/qreplica/credentials.json``, by default under ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "qreplica" / "credentials.json"


def load() -> list[SavedLogin]:
    """Return the saved logins, the latest last. Raises CredentialsDamaged."""
    try:
        return [SavedLogin(**entry) for entry in json.loads(file().read_text())["logins"]]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CredentialsDamaged(file=file(), reason=f"{type(error).__name__}: {error}") from error


def named(name: str) -> SavedLogin:
    """Return the login saved as ``name``. Raises NoSuchLogin, CredentialsDamaged."""
    logins = load()
    for login in logins:
        if login.name == name:
            return login
    known = ", ".join(sorted(login.name for login in logins if login.name)) or "none"
    raise NoSuchLogin(name=name, known=known)


def of_url(url: str) -> SavedLogin | None:
    """Return the login to ``url``, if there is one."""
    return next((login for login in load() if login.url == url), None)


def save(login: SavedLogin) -> None:
    """Keep ``login`` as the latest, in place of an older one to the same URL or of the same name."""
    with _alone():
        others = [one for one in load() if one.url != login.url and (login.name is None or one.name != login.name)]
        _write([*others, login])


def know(url: str, *, coming: Sequence[str] | None = None, pins: Mapping[str, str] | None = None) -> None:
    """Note of the login to ``url`` which fingerprints are coming, and ``pins`` that are others than before."""
    with _alone():
        _write([_knowing(login, coming, pins) if login.url == url else login for login in load()])


def _knowing(login: SavedLogin, coming: Sequence[str] | None, pins: Mapping[str, str] | None) -> SavedLogin:
    return replace(login, coming=login.coming if coming is None else tuple(coming), pins={**login.pins, **(pins or {})})


def forget(url: str) -> None:
    """Remove the login to ``url``."""
    with _alone():
        _write([login for login in load() if login.url != url])


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other commands of the user from changing the file at the same time."""
    directory = file().parent
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(logins: list[SavedLogin]) -> None:
    place = file()
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({"logins": [asdict(login) for login in logins]}, stream, indent=2)
    new.replace(place)
