from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from qreplica.access import administrators as module
from qreplica.access import secret_files
from qreplica.access.administrators import Administrators
from qreplica.access.errors import (
    AdministratorNameInvalid,
    AlreadySetUp,
    PasswordTooLong,
    PasswordTooShort,
    TokenInvalid,
    TooManyFailures,
    WrongLogin,
    WrongSetupSecret,
)
from qreplica.errors import QReplicaError
from qreplica.events import log as log_module
from qreplica.state.database import Database
from qreplica.state.models import Administrator, Event, Token, now

PASSWORD = "correct horse battery"


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


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.upgrade()
    yield database
    database.dispose()


@pytest.fixture
def administrators(database: Database, tmp_path: Path) -> Administrators:
    made = Administrators(database, tmp_path, controller=1)
    made.offer_setup()
    return made


@pytest.fixture
def secret(administrators: Administrators, tmp_path: Path) -> str:
    administrators.offer_setup()
    return (tmp_path / secret_files.SETUP).read_text().strip()


@pytest.fixture
def set_up(administrators: Administrators, secret: str) -> Administrators:
    administrators.set_up(secret, "admin", PASSWORD)
    return administrators


def test_the_setup_secret_is_long_and_only_root_can_read_it(secret: str, tmp_path: Path) -> None:
    assert len(secret) >= 43
    assert (tmp_path / secret_files.SETUP).stat().st_mode & 0o777 == 0o600


def test_a_second_daemon_keeps_the_first_ones_secret(
    administrators: Administrators, secret: str, tmp_path: Path
) -> None:
    administrators.offer_setup()
    assert (tmp_path / secret_files.SETUP).read_text().strip() == secret


def test_setting_up_makes_an_administrator_once_and_takes_the_secret_away(
    set_up: Administrators, secret: str, tmp_path: Path
) -> None:
    assert not (tmp_path / secret_files.SETUP).exists()
    with pytest.raises(AlreadySetUp):
        set_up.set_up(secret, "second", PASSWORD)
    set_up.offer_setup()
    assert not (tmp_path / secret_files.SETUP).exists()


def test_a_crash_before_the_secret_was_deleted_does_not_reopen_setup(set_up: Administrators, tmp_path: Path) -> None:
    left_over = tmp_path / secret_files.SETUP
    left_over.write_text("left over\n")
    with pytest.raises(AlreadySetUp):
        set_up.set_up("left over", "second", PASSWORD)
    set_up.offer_setup()
    assert not left_over.exists()


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("Admin", PASSWORD, AdministratorNameInvalid),
        ("a" * 33, PASSWORD, AdministratorNameInvalid),
        ("a\n", PASSWORD, AdministratorNameInvalid),
        ("admin", "eleven char", PasswordTooShort),
        ("admin", "x" * 1025, PasswordTooLong),
    ],
)
def test_a_bad_first_administrator_is_refused_and_setup_stays_open(
    administrators: Administrators, secret: str, name: str, password: str, expected: type[QReplicaError]
) -> None:
    with pytest.raises(expected):
        administrators.set_up(secret, name, password)
    administrators.set_up(secret, "admin", PASSWORD)


@pytest.mark.parametrize("given", ["", " ", "wrong", "ü"])
def test_a_wrong_setup_secret_makes_nobody(
    administrators: Administrators, database: Database, log: Log, given: str
) -> None:
    with pytest.raises(WrongSetupSecret):
        administrators.set_up(given, "admin", PASSWORD)
    with database.session(read_only=True) as session:
        assert session.scalars(select(Administrator)).all() == []
    assert log.kinds() == ["setup-refused"]


def test_an_empty_setup_file_matches_nothing(administrators: Administrators, tmp_path: Path) -> None:
    (tmp_path / secret_files.SETUP).write_text("")
    with pytest.raises(WrongSetupSecret):
        administrators.set_up("", "admin", PASSWORD)


def test_the_database_holds_neither_password_nor_token(
    set_up: Administrators, database: Database, tmp_path: Path
) -> None:
    token = set_up.log_in("admin", PASSWORD).token
    with database.session(read_only=True) as session:
        assert session.scalars(select(Administrator.password_hash)).one().startswith("$argon2id$")
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
    assert PASSWORD.encode() not in stored
    assert token.encode() not in stored


def test_a_token_names_its_administrator_until_logout(set_up: Administrators) -> None:
    first, second = set_up.log_in("admin", PASSWORD), set_up.log_in("admin", PASSWORD)
    assert set_up.whose(first.token) == "admin"
    set_up.log_out(first.token)
    set_up.log_out(first.token)
    with pytest.raises(TokenInvalid):
        set_up.whose(first.token)
    assert set_up.whose(second.token) == "admin"


def test_a_token_ends_after_its_lifetime_and_is_swept_by_the_next_login(
    set_up: Administrators, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = set_up.log_in("admin", PASSWORD)
    assert abs(login.expires_at - now() - module.LIFETIME).total_seconds() < 60
    later = now() + module.LIFETIME
    monkeypatch.setattr(module, "now", lambda: later)
    with pytest.raises(TokenInvalid):
        set_up.whose(login.token)
    set_up.log_in("admin", PASSWORD)
    with database.session(read_only=True) as session:
        assert len(session.scalars(select(Token)).all()) == 1


def test_failed_logins_are_logged_and_slowed_for_known_and_unknown_names_alike(
    set_up: Administrators, log: Log
) -> None:
    for name in ("admin", "nobody"):
        for _ in range(5):
            with pytest.raises(WrongLogin) as wrong:
                set_up.log_in(name, "not the password")
        assert "not the password" not in wrong.value.sentence
        with pytest.raises(TooManyFailures) as slowed:
            set_up.log_in(name, PASSWORD)
        assert slowed.value.status == 429
        assert slowed.value.fields["failures"] == 5
    assert log.kinds().count("login-failed") == 10
    assert "not the password" not in log.text()


def test_a_name_that_is_none_stays_out_of_the_event_log(set_up: Administrators, log: Log) -> None:
    with pytest.raises(WrongLogin):
        set_up.log_in("\x1b[31m" + "x" * 50, "whatever it is")
    assert log.entries[-1].subject == "administrator"
