"""Times are UTC, secrets are encrypted."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from qreplica.state.database import Database
from qreplica.state.errors import SecretUnreadable
from qreplica.state.models import Controller, Node
from qreplica.state.types import Secret


def test_times_come_back_in_utc(database: Database) -> None:
    paris = timezone(timedelta(hours=2))
    with database.session() as session:
        session.add(Controller(number=1, started_at=datetime(2026, 7, 1, 12, 30, 15, 123456, tzinfo=paris)))
    with database.session(read_only=True) as session:
        started = session.get_one(Controller, 1).started_at
    assert started == datetime(2026, 7, 1, 10, 30, 15, 123456, tzinfo=UTC)
    assert started.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="a time without a zone"), database.session() as session:
        session.add(Controller(number=1, started_at=datetime(2026, 7, 1)))  # noqa: DTZ001 - it is to be refused


def node(secret: str) -> Node:
    return Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=1, chap_user="user", chap_secret=secret)


def test_a_secret_is_encrypted_on_disk_and_comes_back(database: Database, tmp_path: Path) -> None:
    secret = "xyzzy-plugh-0123456789-é"
    with database.session() as session:
        session.add(node(secret))
    with database.session(read_only=True) as session:
        assert session.query(Node).one().chap_secret == secret
        (stored,) = session.execute(text("SELECT chap_secret FROM nodes")).one()
    assert stored.startswith(b"gAAAA")
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes(), file


def test_the_same_secret_is_never_stored_the_same(database: Database) -> None:
    with database.session() as session:
        session.add(node("the same secret"))
        session.add(Node(name="n2", iqn="iqn.2026-11.org.qreplica:n2", tid=2, chap_secret="the same secret"))
    with database.session(read_only=True) as session:
        first, second = session.execute(text("SELECT chap_secret FROM nodes")).scalars()
    assert first != second


def test_another_key_is_told_of(database: Database) -> None:
    with database.session() as session:
        session.add(node("a secret of the node"))
    Secret.unlock(Fernet.generate_key())
    with (
        pytest.raises(SecretUnreadable, match=r"another secrets key: .*secrets\.key"),
        database.session(read_only=True) as session,
    ):
        session.query(Node).one()


def test_a_secret_that_was_changed_in_the_file_is_told_of(database: Database) -> None:
    with database.session() as session:
        session.add(node("a secret of the node"))
    with database.session() as session:
        session.execute(text("UPDATE nodes SET chap_secret = x'6741414141'"))
    with pytest.raises(SecretUnreadable), database.session(read_only=True) as session:
        session.query(Node).one()


def test_nothing_is_encrypted_without_a_key(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "_cipher", None)
    with pytest.raises(StatementError, match="was not loaded"), database.session() as session:
        session.add(node("a secret of the node"))
