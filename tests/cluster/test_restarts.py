"""Whose turn it is to restart: one controller at a time, and every restart that was asked for comes."""

import pytest

from qreplica.cluster import restarts
from qreplica.cluster.errors import ControllerNotRunning
from qreplica.cluster.standing import listing
from qreplica.state.database import Database
from qreplica.state.models import Controller, now


class Pair:
    """Both controllers, as their daemons write of themselves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.session() as session:
            session.add_all([Controller(number=number, heartbeat_at=now()) for number in (1, 2)])

    def ask(self, number: int) -> None:
        with self.database.session() as session:
            restarts.ask(session, number, 1)

    def begins(self, number: int) -> bool:
        with self.database.session() as session:
            return restarts.begin(session, number)

    def start(self, number: int) -> None:
        with self.database.session() as session:
            restarts.started(session, number)

    def ready(self, number: int) -> None:
        with self.database.session() as session:
            restarts.ready(session, number)

    @property
    def pending(self) -> list[bool]:
        with self.database.session(read_only=True) as session:
            return [one.restarting for one in listing(session, 1)]


@pytest.fixture
def pair(database: Database) -> Pair:
    return Pair(database)


def test_nothing_restarts_that_was_not_asked_to(pair: Pair) -> None:
    assert not pair.begins(1)
    pair.start(1)
    pair.ready(1)
    assert pair.pending == [False, False]
    assert not pair.begins(1)


def test_the_second_waits_until_the_first_is_ready(pair: Pair) -> None:
    with pair.database.session() as session:
        restarts.ask_all(session, 1)
    assert pair.pending == [True, True]
    assert pair.begins(2)
    assert not pair.begins(1)
    pair.start(2)
    assert not pair.begins(1)
    pair.ready(2)
    assert pair.pending == [True, False]
    assert pair.begins(1)
    assert not pair.begins(1)
    assert not pair.begins(2)
    pair.start(1)
    pair.ready(1)
    assert pair.pending == [False, False]


def test_asking_twice_before_it_begins_is_once_and_after_that_again(pair: Pair) -> None:
    pair.ask(1)
    pair.ask(1)
    assert pair.begins(1)
    pair.ask(1)
    pair.start(1)
    pair.ready(1)
    # It was started after that, and serves it.
    assert pair.pending == [False, False]
    pair.ask(1)
    pair.start(1)
    pair.ask(1)
    pair.ready(1)
    # That came after the start, which had read what there was to read.
    assert pair.pending == [True, False]
    assert pair.begins(1)


def test_a_start_by_hand_serves_what_was_asked_for(pair: Pair) -> None:
    pair.ask(1)
    pair.start(1)
    assert not pair.begins(1)
    pair.ready(1)
    assert pair.pending == [False, False]


def test_one_that_does_not_run_is_refused_or_left_out(pair: Pair) -> None:
    with pair.database.session() as session:
        session.get_one(Controller, 2).heartbeat_at = None
    with pytest.raises(ControllerNotRunning, match="Controller 2 cannot be restarted"):
        pair.ask(2)
    with pair.database.session() as session:
        restarts.ask_all(session, 1)
    assert pair.pending == [True, False]
