from pathlib import Path
from typing import Any

import pytest

from qreplica.access import secret_files
from qreplica.access.errors import (
    AlreadySetUp,
    PasswordTooLong,
    PasswordTooShort,
    UserNameInvalid,
    WrongSetupSecret,
)
from qreplica.access.roles import Role
from qreplica.access.setting_up import SettingUp
from qreplica.access.users import Users
from qreplica.errors import QReplicaError

PASSWORD = "correct horse battery"


def test_the_setup_secret_is_long_and_only_root_can_read_it(secret: str, tmp_path: Path) -> None:
    assert len(secret) >= 43
    assert (tmp_path / secret_files.SETUP).stat().st_mode & 0o777 == 0o600


def test_a_second_daemon_keeps_the_first_ones_secret(setting_up: SettingUp, secret: str, tmp_path: Path) -> None:
    setting_up.offer()
    assert (tmp_path / secret_files.SETUP).read_text().strip() == secret


def test_setting_up_makes_an_admin_once_and_takes_the_secret_away(
    setting_up: SettingUp, users: Users, secret: str, tmp_path: Path
) -> None:
    setting_up.set_up(secret, "admin", PASSWORD)
    assert [(user.name, user.role, user.enabled) for user in users.listing()] == [("admin", Role.ADMIN, True)]
    assert not (tmp_path / secret_files.SETUP).exists()
    with pytest.raises(AlreadySetUp):
        setting_up.set_up(secret, "second", PASSWORD)
    setting_up.offer()
    assert not (tmp_path / secret_files.SETUP).exists()


def test_a_crash_before_the_secret_was_deleted_does_not_reopen_setup(
    setting_up: SettingUp, secret: str, tmp_path: Path
) -> None:
    setting_up.set_up(secret, "admin", PASSWORD)
    left_over = tmp_path / secret_files.SETUP
    left_over.write_text("left over\n")
    with pytest.raises(AlreadySetUp):
        setting_up.set_up("left over", "second", PASSWORD)
    setting_up.offer()
    assert not left_over.exists()


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("Admin", PASSWORD, UserNameInvalid),
        ("a" * 33, PASSWORD, UserNameInvalid),
        ("a\n", PASSWORD, UserNameInvalid),
        ("admin", "eleven char", PasswordTooShort),
        ("admin", "x" * 1025, PasswordTooLong),
    ],
)
def test_a_bad_first_user_is_refused_and_setup_stays_open(
    setting_up: SettingUp, secret: str, name: str, password: str, expected: type[QReplicaError]
) -> None:
    with pytest.raises(expected):
        setting_up.set_up(secret, name, password)
    setting_up.set_up(secret, "admin", PASSWORD)


@pytest.mark.parametrize("given", ["", " ", "wrong", "ü"])
def test_a_wrong_setup_secret_makes_nobody(setting_up: SettingUp, users: Users, log: Any, given: str) -> None:
    with pytest.raises(WrongSetupSecret):
        setting_up.set_up(given, "admin", PASSWORD)
    assert users.listing() == []
    assert log.kinds() == ["setup-refused"]


def test_an_empty_setup_file_matches_nothing(setting_up: SettingUp, tmp_path: Path) -> None:
    (tmp_path / secret_files.SETUP).write_text("")
    with pytest.raises(WrongSetupSecret):
        setting_up.set_up("", "admin", PASSWORD)
