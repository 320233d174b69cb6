"""The event log."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from qreplica.events import log
from qreplica.events.log import Wanted
from qreplica.state.database import Database
from qreplica.state.models import Event, Severity


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'qreplica.db'}")
    made.upgrade()
    yield made
    made.dispose()


def record(database: Database, *subjects: str, severity: Severity = Severity.INFO) -> None:
    with database.session() as session:
        for subject in subjects:
            log.record(session, severity, "test", subject, f"Something befell {subject}.", controller=2)


def recent(database: Database, limit: int = 100, before: int | None = None, **choice: Any) -> list[str]:
    with database.session(read_only=True) as session:
        return [event.subject for event in log.recent(session, Wanted(**choice), limit=limit, before=before)]


def test_events_come_newest_first_and_whole(database: Database) -> None:
    before = datetime.now(UTC)
    record(database, "vd a", "vd b", severity=Severity.WARNING)
    assert recent(database) == ["vd b", "vd a"]
    with database.session(read_only=True) as session:
        event = log.recent(session)[0]
    assert (event.severity, event.kind, event.controller) == (Severity.WARNING, "test", 2)
    assert event.message == "Something befell vd b."
    assert before <= event.at <= datetime.now(UTC)


def test_events_are_chosen_by_all_that_is_given(database: Database) -> None:
    record(database, "vd a", "vd b")
    record(database, "vd a", severity=Severity.ERROR)
    assert recent(database, subject="vd a") == ["vd a", "vd a"]
    assert recent(database, subject="vd a", severity=Severity.ERROR) == ["vd a"]
    assert recent(database, subject="vd b", severity=Severity.ERROR) == []
    assert recent(database, limit=2) == ["vd a", "vd b"]
    now = datetime.now(UTC)
    assert recent(database, since=now + timedelta(seconds=1)) == []
    assert len(recent(database, since=now - timedelta(hours=1), until=now)) == 3
    assert recent(database, until=now - timedelta(hours=1)) == []
    assert recent(database, before=3) == ["vd b", "vd a"]


def test_events_are_found_by_a_part_of_what_they_tell(database: Database) -> None:
    record(database, "vd Payroll", "vd 100%", "vd mail")
    assert recent(database, contains="BEFELL VD PAY") == ["vd Payroll"]
    assert recent(database, contains="vd pay") == ["vd Payroll"]
    assert recent(database, contains="%") == ["vd 100%"]
    assert recent(database, contains="_") == []


def test_all_events_are_read_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_PAGE", 2)
    record(database, "a", "b", "c", "d", "e")
    assert [one.subject for one in log.everything(database, Wanted())] == ["e", "d", "c", "b", "a"]


def test_an_event_is_no_more_than_its_transaction(database: Database) -> None:
    def half() -> None:
        with database.session() as session:
            log.record(session, Severity.INFO, "test", "vd a", "")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert recent(database) == []


def test_the_oldest_go_when_there_are_too_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "KEEP", 250)
    for first in range(0, 1000, 77):
        record(database, *(f"vd {number}" for number in range(first, min(first + 77, 1000))))
    kept = recent(database, limit=10_000)
    assert kept == [f"vd {number}" for number in range(999, 749, -1)]


def test_no_more_are_kept_than_are_to_be_and_some(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "KEEP", 10)
    for number in range(350):
        record(database, f"vd {number}")
        with database.session(read_only=True) as session:
            assert session.scalar(select(func.count()).select_from(Event)) <= 10 + log._TIDY_EVERY


def test_events_are_counted_by_severity(database: Database) -> None:
    record(database, "a", "b", "c")
    record(database, "d", severity=Severity.ERROR)
    with database.session(read_only=True) as session:
        assert log.counts(session) == {Severity.INFO: 3, Severity.ERROR: 1}
