"""When a daemon ends to start again: when it was asked to, and some time after the other one is back."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.cluster import restarts
from qreplica.daemon.restarter import Restarter
from qreplica.state.database import Database
from qreplica.state.models import Controller, now

from .running import eventually


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'qreplica.db'}")
    made.upgrade()
    with made.session() as session:
        session.add_all([Controller(number=number, heartbeat_at=now()) for number in (1, 2)])
    yield made
    made.dispose()


class Clock:
    """Counts how often it was looked at, and stands at ``now``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def is_looked_at_again(self) -> bool:
        before = self.looks
        return eventually(lambda: self.looks > before + 2)


def test_it_ends_the_daemon_when_a_restart_was_asked_for(database: Database) -> None:
    ended = threading.Event()
    with database.session() as session:
        restarts.ask(session, 1, 1)
        restarts.started(session, 1)
    restarter = Restarter(database, 1, pause=0)
    try:
        restarter.ready(ended.set)

        def is_done() -> bool:
            with database.session(read_only=True) as session:
                return session.get_one(Controller, 1).restarts_done == 1

        assert eventually(is_done)
        assert not ended.is_set()
        assert not restarter.restarts
        with database.session() as session:
            restarts.ask(session, 1, 2)
        assert ended.wait(60)
        assert restarter.restarts
    finally:
        restarter.stop()


def test_it_waits_for_hosts_to_come_back_to_the_other_one(database: Database) -> None:
    ended, clock = threading.Event(), Clock()
    with database.session() as session:
        restarts.ask_all(session, 1)
        assert restarts.begin(session, 2)
    restarter = Restarter(database, 1, pause=20, clock=clock)
    try:
        restarter.ready(ended.set)
        assert clock.is_looked_at_again()
        with database.session() as session:
            restarts.ready(session, 2)
        clock.now += 19
        assert clock.is_looked_at_again()
        assert not ended.is_set()
        clock.now += 20
        assert ended.wait(60)
    finally:
        restarter.stop()


def test_one_that_was_never_ready_can_be_stopped(database: Database) -> None:
    restarter = Restarter(database, 1, pause=0)
    restarter.stop()
    assert not restarter.restarts
