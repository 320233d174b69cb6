"""A state database, and who may use it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from qreplica.access import passwords, secret_files
from qreplica.access.sessions import Sessions
from qreplica.access.setting_up import SettingUp
from qreplica.access.users import Users
from qreplica.events import log as log_module
from qreplica.state.database import Database
from qreplica.state.models import Event


class Log:
    """The event log, oldest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def entries(self) -> list[Event]:
        with self._database.session(read_only=True) as session:
            return log_module.recent(session)[::-1]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.entries]

    def text(self) -> str:
        return " ".join(f"{event.subject} {event.message}" for event in self.entries)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", hasher)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.upgrade()
    yield database
    database.dispose()


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture
def setting_up(database: Database, tmp_path: Path) -> SettingUp:
    made = SettingUp(database, tmp_path, controller=1)
    made.offer()
    return made


@pytest.fixture
def secret(setting_up: SettingUp, tmp_path: Path) -> str:
    setting_up.offer()
    return (tmp_path / secret_files.SETUP).read_text().strip()


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database)


@pytest.fixture
def sessions(database: Database) -> Sessions:
    return Sessions(database, controller=1)
