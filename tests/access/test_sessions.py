from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.access import sessions as module
from qreplica.access.errors import (
    LoginNeeded,
    LoginUnused,
    TokenExists,
    TokenInvalid,
    TokenRoleTooHigh,
    TooManyFailures,
    WrongLogin,
    WrongPassword,
)
from qreplica.access.roles import Role
from qreplica.access.sessions import Caller, Sessions
from qreplica.access.users import Users
from qreplica.errors import NotFound
from qreplica.names import NotAName
from qreplica.state.access_models import AccessSession, User
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import now

PASSWORD = "correct horse battery"
HOME, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def user(users: Users) -> None:
    users.create("eve", Role.OPERATOR, PASSWORD)


@pytest.fixture
def eve(sessions: Sessions) -> Caller:
    return sessions.caller(sessions.log_in("eve", PASSWORD, HOME).token, HOME)


def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    moment = now() + by
    monkeypatch.setattr(module, "now", lambda: moment)


def test_the_database_holds_neither_password_nor_token(
    sessions: Sessions, eve: Caller, database: Database, tmp_path: Path
) -> None:
    secrets = [sessions.log_in("eve", PASSWORD, HOME), sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)]
    with database.session(read_only=True) as session:
        assert session.scalars(select(User.password_hash)).one().startswith("$argon2id$")
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
    for given in secrets:
        assert given.token.encode() not in stored
        assert given.token not in repr(given)
    assert PASSWORD.encode() not in stored


def test_a_login_names_its_user_until_logout(sessions: Sessions, eve: Caller) -> None:
    other = sessions.log_in("eve", PASSWORD, HOME)
    assert (eve.user, eve.role, eve.token) == ("eve", Role.OPERATOR, None)
    sessions.log_out(eve)
    sessions.log_out(eve)
    assert [one.id for one in sessions.listing()] == [sessions.caller(other.token, HOME).session]


def test_a_login_ends_after_its_lifetime_and_is_swept_by_the_next(
    sessions: Sessions, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = sessions.log_in("eve", PASSWORD, HOME)
    assert abs(login.expires_at - now() - module.LIFETIME) < timedelta(minutes=1)
    later(monkeypatch, module.LIFETIME)
    with pytest.raises(TokenInvalid):
        sessions.caller(login.token, HOME)
    assert sessions.listing() == []
    sessions.log_in("eve", PASSWORD, HOME)
    with database.session(read_only=True) as session:
        assert len(session.scalars(select(AccessSession)).all()) == 1


def test_a_login_that_lies_unused_ends_and_says_so(
    sessions: Sessions, eve: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = sessions.log_in("eve", PASSWORD, HOME)
    assert login.idle_minutes == 30
    token = sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)
    assert token.idle_minutes is None
    start, minute = now(), timedelta(minutes=1)
    for used_at in (29 * minute, 59 * minute, 90 * minute):  # each use counts from then on
        monkeypatch.setattr(module, "now", lambda moment=start + used_at: moment)
        sessions.caller(login.token, HOME)
    monkeypatch.setattr(module, "now", lambda: start + 122 * minute)
    for _ in range(2):
        with pytest.raises(LoginUnused) as ended:
            sessions.caller(login.token, HOME)
    assert ended.value.sentence == (
        "The login has ended because it was not used for 30 minutes: log in again with “qreplica login”."
    )
    assert isinstance(ended.value, TokenInvalid)
    # A token ends by its date alone, and only what is valid is listed.
    assert sessions.caller(token.token, HOME).token == "t"
    assert [one.name for one in sessions.listing()] == ["t"]


def test_an_unused_login_never_ends_too_early(
    sessions: Sessions, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last use is written down once a minute, so that the one just before the next writing must count too."""
    login = sessions.log_in("eve", PASSWORD, HOME)
    start = now()
    for moment in (start + timedelta(seconds=58), start + timedelta(minutes=30, seconds=55)):
        monkeypatch.setattr(module, "now", lambda moment=moment: moment)
        assert sessions.caller(login.token, HOME).user == "eve"
    patient = Sessions(database, controller=2, idle=timedelta(hours=2))
    monkeypatch.setattr(module, "now", lambda: start + timedelta(hours=2))
    with pytest.raises(LoginUnused):
        sessions.caller(login.token, HOME)
    assert patient.caller(login.token, HOME).user == "eve"


def test_failed_logins_are_logged_and_slowed_for_known_and_unknown_names_alike(sessions: Sessions, log: Any) -> None:
    for name in ("eve", "nobody"):
        for _ in range(5):
            with pytest.raises(WrongLogin) as wrong:
                sessions.log_in(name, "not the password", HOME)
        assert "not the password" not in wrong.value.sentence
        with pytest.raises(TooManyFailures) as slowed:
            sessions.log_in(name, PASSWORD, HOME)
        assert slowed.value.status == 429
        assert slowed.value.fields["failures"] == 5
    assert log.kinds().count("login-failed") == 10
    assert "not the password" not in log.text()


def test_a_name_that_is_none_stays_out_of_the_event_log(sessions: Sessions, log: Any) -> None:
    with pytest.raises(WrongLogin):
        sessions.log_in("\x1b[31m" + "x" * 50, "whatever it is", HOME)
    assert log.entries[-1].subject == "user"


def test_a_token_may_what_both_it_and_its_user_may(sessions: Sessions, users: Users, eve: Caller) -> None:
    low = sessions.make_token(eve, "low", Role.VIEWER, 1, HOME)
    high = sessions.make_token(eve, "high", Role.OPERATOR, 1, HOME)
    assert sessions.caller(low.token, HOME).role is Role.VIEWER
    assert sessions.caller(high.token, HOME).role is Role.OPERATOR
    users.change("eve", role=Role.VIEWER)
    assert sessions.caller(high.token, HOME).role is Role.VIEWER
    users.change("eve", role=Role.ADMIN)
    assert sessions.caller(high.token, HOME).role is Role.OPERATOR


def test_a_token_is_not_above_its_maker_unique_and_named(sessions: Sessions, users: Users, eve: Caller) -> None:
    with pytest.raises(TokenRoleTooHigh):
        sessions.make_token(eve, "t", Role.ADMIN, 1, HOME)
    with pytest.raises(NotAName):
        sessions.make_token(eve, "a/b", Role.VIEWER, 1, HOME)
    sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)
    with pytest.raises(TokenExists):
        sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)
    users.create("bob", Role.VIEWER, PASSWORD)
    bob = sessions.caller(sessions.log_in("bob", PASSWORD, HOME).token, HOME)
    sessions.make_token(bob, "t", Role.VIEWER, 1, HOME)


def test_a_token_ends_when_it_should_and_makes_no_other(
    sessions: Sessions, eve: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = sessions.make_token(eve, "t", Role.VIEWER, 2, HOME)
    by_token = sessions.caller(given.token, HOME)
    with pytest.raises(LoginNeeded):
        sessions.make_token(by_token, "u", Role.VIEWER, 2, HOME)
    with pytest.raises(LoginNeeded):
        sessions.change_password(by_token, PASSWORD, "another horse battery")
    later(monkeypatch, timedelta(days=2))
    with pytest.raises(TokenInvalid):
        sessions.caller(given.token, HOME)
    fresh = sessions.caller(sessions.log_in("eve", PASSWORD, HOME).token, HOME)
    sessions.make_token(fresh, "t", Role.VIEWER, 2, HOME)  # the name is free again


def test_the_last_use_is_noted_once_a_minute(sessions: Sessions, eve: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    token = sessions.make_token(eve, "t", Role.VIEWER, 1, HOME).token

    def row() -> AccessSession:
        (found,) = [one for one in sessions.listing("eve") if one.name == "t"]
        return found

    assert (row().used_at, row().address) == (None, HOME)
    sessions.caller(token, ELSEWHERE)
    first = row().used_at
    assert row().used_from == ELSEWHERE
    sessions.caller(token, HOME)
    assert row().used_at == first
    later(monkeypatch, timedelta(minutes=2))
    sessions.caller(token, HOME)
    assert row().used_at != first
    assert row().used_from == HOME


def test_a_state_that_cannot_be_written_keeps_nobody_out(
    sessions: Sessions, eve: Caller, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sessions.make_token(eve, "t", Role.VIEWER, 1, HOME).token
    original, tried = database.session, []

    def session(*, read_only: bool = False) -> Any:
        if not read_only:
            tried.append(1)
            raise StateBusy(place="here", reason="held")
        return original(read_only=True)

    monkeypatch.setattr(database, "session", session)
    for _ in range(3):
        assert sessions.caller(token, HOME).user == "eve"
    assert len(tried) == 1


def test_ones_own_password_needs_the_present_one_and_ends_other_logins(sessions: Sessions, eve: Caller) -> None:
    other = sessions.log_in("eve", PASSWORD, HOME)
    token = sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)
    with pytest.raises(WrongPassword):
        sessions.change_password(eve, "not the password", "another horse battery")
    sessions.change_password(eve, PASSWORD, "another horse battery")
    with pytest.raises(TokenInvalid):
        sessions.caller(other.token, HOME)
    assert {one.id for one in sessions.listing()} == {eve.session, sessions.caller(token.token, HOME).session}
    sessions.log_in("eve", "another horse battery", HOME)


def test_guessing_the_present_password_is_slowed_as_logging_in_is(sessions: Sessions, eve: Caller) -> None:
    for _ in range(5):
        with pytest.raises(WrongPassword):
            sessions.change_password(eve, "not the password", "another horse battery")
    with pytest.raises(TooManyFailures):
        sessions.change_password(eve, PASSWORD, "another horse battery")


def test_sessions_are_revoked_one_or_all(sessions: Sessions, users: Users, eve: Caller) -> None:
    users.create("bob", Role.VIEWER, PASSWORD)
    bob = sessions.caller(sessions.log_in("bob", PASSWORD, HOME).token, HOME)
    token = sessions.make_token(eve, "t", Role.VIEWER, 1, HOME)
    with pytest.raises(NotFound):
        sessions.revoke(bob.session, "eve")
    assert len(sessions.listing("bob")) == 1
    sessions.revoke(sessions.caller(token.token, HOME).session, "eve")
    with pytest.raises(TokenInvalid):
        sessions.caller(token.token, HOME)
    sessions.log_in("eve", PASSWORD, HOME)
    sessions.revoke_all("eve", but=eve.session)
    assert [one.id for one in sessions.listing("eve")] == [eve.session]
    sessions.revoke_all("eve")
    sessions.revoke_all("eve")
    assert [one.id for one in sessions.listing()] == [bob.session]
    sessions.revoke(bob.session)
    with pytest.raises(NotFound):
        sessions.revoke(bob.session)
    with pytest.raises(NotFound):
        sessions.revoke_all("nobody")
