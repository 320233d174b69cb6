from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from qreplica.access import audit as module
from qreplica.access.audit import Action, Audit, Outcome, Wanted
from qreplica.access.roles import Role
from qreplica.access.sessions import Caller
from qreplica.state.access_models import AuditEntry
from qreplica.state.database import Database
from qreplica.state.errors import StateDiskFull
from qreplica.state.models import now

EVE = Caller("eve", Role.OPERATOR, "s", "robot")
HERE = "192.0.2.1"


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database, controller=2)


def done(audit: Audit, operation: str, status: int = 200) -> None:
    audit.end(audit.begin(EVE, HERE, Action(operation, f"/api/v1/{operation}")), Outcome(status))


def operations(audit: Audit, **wanted: Any) -> list[str]:
    return [entry.operation for entry in audit.recent(Wanted(**wanted), limit=1000)]


def test_an_entry_is_there_before_the_outcome(audit: Audit) -> None:
    number = audit.begin(EVE, HERE, Action("start_job", "/api/v1/jobs/a/start", '{"x": 1}'))
    (entry,) = audit.recent(Wanted(), limit=10)
    assert (entry.status, entry.problem, entry.controller) == (None, None, 2)
    assert (entry.user, entry.role, entry.token, entry.address) == ("eve", Role.OPERATOR, "robot", HERE)
    audit.end(number, Outcome(409, "job-runs"))
    (entry,) = audit.recent(Wanted(), limit=10)
    assert (entry.status, entry.problem, entry.details) == (409, "job-runs", '{"x": 1}')


def test_without_an_entry_nothing_begins(audit: Audit, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise StateDiskFull(place="here", free=0)

    monkeypatch.setattr(database, "session", full)
    with pytest.raises(StateDiskFull):
        audit.begin(EVE, HERE, Action("a", "/a"))
    audit.end(1, Outcome(200))
    audit.note(HERE, Action("a", "/a"), Outcome(401), claimed="eve")


def test_entries_are_found_by_what_is_wanted(audit: Audit) -> None:
    done(audit, "one")
    done(audit, "two", 409)
    audit.begin(EVE, HERE, Action("cut_off", "/x"))
    audit.note(HERE, Action("log_in", "/api/v1/login"), Outcome(401, "wrong-login"), claimed="bob")
    assert operations(audit) == ["log_in", "cut_off", "two", "one"]
    assert operations(audit, user="bob") == ["log_in"]
    assert operations(audit, operation="two") == ["two"]
    assert operations(audit, refused=True) == ["log_in", "two"]
    assert operations(audit, refused=False) == ["cut_off", "one"]
    assert operations(audit, since=now() + timedelta(hours=1)) == []
    assert operations(audit, until=now() - timedelta(hours=1)) == []
    assert len(operations(audit, since=now() - timedelta(hours=1), until=now())) == 4


def test_all_are_read_in_parts(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 3)
    for number in range(10):
        done(audit, f"o{number}")
    assert [entry.operation for entry in audit.all(Wanted())] == [f"o{number}" for number in range(9, -1, -1)]
    assert len(audit.recent(Wanted(), limit=3, before=audit.recent(Wanted(), limit=1)[0].id)) == 3


def test_refusals_do_not_push_changes_out(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY", 1)
    monkeypatch.setattr(module, "KEEP", 4)
    monkeypatch.setattr(module, "KEEP_REFUSED", 2)
    for number in range(6):
        done(audit, f"change-{number}")
    for number in range(20):
        audit.note(HERE, Action(f"refused-{number}", "/"), Outcome(403, "role-too-low"), caller=EVE)
    assert operations(audit) == ["refused-19", "refused-18", "change-5", "change-4", "change-3", "change-2"]


def test_what_is_too_old_goes(audit: Audit, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY_EVERY", 1)
    done(audit, "old")
    with database.session() as session:
        session.execute(update(AuditEntry).values(at=now() - module.AGE - timedelta(days=1)))
    done(audit, "new")
    assert operations(audit) == ["new"]


def test_long_texts_are_cut(audit: Audit) -> None:
    audit.begin(EVE, HERE, Action("a", "/" + "x" * 10_000, "y" * 10_000))
    (entry,) = audit.recent(Wanted(), limit=1)
    assert (len(entry.subject), len(entry.details or "")) == (module.LONGEST, module.LONGEST)
