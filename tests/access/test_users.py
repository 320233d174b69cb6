from itertools import product

import pytest

from qreplica.access.errors import (
    LastAdmin,
    PasswordTooShort,
    TokenInvalid,
    UserDisabled,
    UserExists,
    UserNameInvalid,
    WrongLogin,
)
from qreplica.access.roles import Role, lower
from qreplica.access.sessions import Sessions
from qreplica.access.users import Users
from qreplica.errors import NotFound

PASSWORD = "correct horse battery"


@pytest.fixture
def staffed(users: Users) -> Users:
    for role in Role:
        users.create(f"the-{role}", role, PASSWORD)
    return users


def test_each_role_may_what_lower_ones_may() -> None:
    ranks = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
    assert set(ranks) == set(Role)
    for one, other in product(Role, Role):
        assert one.may(other) == (ranks[one] >= ranks[other])
        assert ranks[lower(one, other)] == min(ranks[one], ranks[other])


def test_users_are_listed_shown_and_unique(staffed: Users) -> None:
    assert [user.name for user in staffed.listing()] == ["the-admin", "the-operator", "the-viewer"]
    assert staffed.show("the-viewer").role is Role.VIEWER
    with pytest.raises(UserExists):
        staffed.create("the-viewer", Role.ADMIN, PASSWORD)
    with pytest.raises(UserNameInvalid):
        staffed.create("../x", Role.ADMIN, PASSWORD)
    with pytest.raises(PasswordTooShort):
        staffed.create("short", Role.ADMIN, "short")
    with pytest.raises(NotFound):
        staffed.show("short")


@pytest.mark.parametrize("way", ["demote", "disable", "delete"])
def test_the_last_enabled_admin_stays(staffed: Users, way: str) -> None:
    def remove(name: str) -> None:
        if way == "demote":
            staffed.change(name, role=Role.OPERATOR)
        elif way == "disable":
            staffed.change(name, enabled=False)
        else:
            staffed.delete(name)

    with pytest.raises(LastAdmin):
        remove("the-admin")
    staffed.create("second", Role.ADMIN, PASSWORD)
    staffed.change("second", enabled=False)
    with pytest.raises(LastAdmin):
        remove("the-admin")
    remove("second")
    assert staffed.show("the-admin").enabled
    staffed.create("third", Role.ADMIN, PASSWORD)
    remove("the-admin")
    with pytest.raises(LastAdmin):
        remove("third")


def test_a_role_counts_at_once_for_what_is_held_already(staffed: Users, sessions: Sessions) -> None:
    held = sessions.log_in("the-viewer", PASSWORD, "192.0.2.1")
    assert (held.user, held.role) == ("the-viewer", Role.VIEWER)
    staffed.change("the-viewer", role=Role.ADMIN)
    assert sessions.caller(held.token, None).role is Role.ADMIN
    staffed.change("the-viewer", role=Role.OPERATOR)
    assert sessions.caller(held.token, None).role is Role.OPERATOR


def test_disabling_ends_logins_and_suspends_tokens(staffed: Users, sessions: Sessions) -> None:
    login = sessions.log_in("the-operator", PASSWORD, None)
    token = sessions.make_token(sessions.caller(login.token, None), "t", Role.VIEWER, 1, None)
    staffed.change("the-operator", enabled=False)
    for held in (login, token):
        with pytest.raises(TokenInvalid):
            sessions.caller(held.token, None)
    with pytest.raises(UserDisabled):
        sessions.log_in("the-operator", PASSWORD, None)
    with pytest.raises(WrongLogin):
        sessions.log_in("the-operator", "not the password", None)
    staffed.change("the-operator", enabled=True)
    assert sessions.caller(token.token, None).token == "t"
    with pytest.raises(TokenInvalid):
        sessions.caller(login.token, None)


def test_a_password_that_is_set_ends_logins_and_keeps_tokens(staffed: Users, sessions: Sessions) -> None:
    login = sessions.log_in("the-operator", PASSWORD, None)
    token = sessions.make_token(sessions.caller(login.token, None), "t", Role.VIEWER, 1, None)
    staffed.set_password("the-operator", "another horse battery")
    with pytest.raises(TokenInvalid):
        sessions.caller(login.token, None)
    assert sessions.caller(token.token, None).user == "the-operator"
    with pytest.raises(WrongLogin):
        sessions.log_in("the-operator", PASSWORD, None)
    sessions.log_in("the-operator", "another horse battery", None)
    with pytest.raises(NotFound):
        staffed.set_password("nobody", PASSWORD)


def test_a_deleted_user_holds_nothing(staffed: Users, sessions: Sessions) -> None:
    login = sessions.log_in("the-operator", PASSWORD, None)
    sessions.make_token(sessions.caller(login.token, None), "t", Role.VIEWER, 1, None)
    staffed.delete("the-operator")
    with pytest.raises(TokenInvalid):
        sessions.caller(login.token, None)
    assert sessions.listing() == []
    with pytest.raises(NotFound):
        staffed.delete("the-operator")
