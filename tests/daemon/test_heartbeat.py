"""The heartbeat."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.heartbeat import Heartbeat
from qreplica.daemon.lock_breaker import LockBreaker
from qreplica.daemon.main import prepare
from qreplica.daemon.state import open_state
from qreplica.iscsi import ports
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import Controller, Event, Subsystem

from .running import eventually


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        subsystem="source",
        controller=2,
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        tgt_control_port=1,
        ports=(PortConfig(number=4, interface="lo", address="127.0.0.1"),),
    )


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    made = open_state(config)
    prepare(made, config)
    yield made
    made.dispose()


def row(database: Database) -> Controller:
    with database.session(read_only=True) as session:
        return session.get_one(Controller, 2)


def heart_of(database: Database) -> Heartbeat:
    return Heartbeat(database, 2, 0.01, LockBreaker(database, 2, Path(database.place).parent))


def test_it_counts_up_until_it_is_stopped(database: Database) -> None:
    before = datetime.now(UTC)
    beating = heart_of(database)
    beating.start()
    assert eventually(lambda: row(database).heartbeat >= 3)
    last = row(database)
    assert last.heartbeat_at is not None
    assert before < last.heartbeat_at <= datetime.now(UTC)
    beating.stop()
    beating.stop()
    assert row(database).heartbeat_at is None
    assert not beating._thread.is_alive()


def test_it_survives_a_busy_database(database: Database) -> None:
    refused: list[bool] = []

    class Busy:
        def session(self) -> Any:
            if len(refused) < 3:
                refused.append(True)
                raise StateBusy(place="x", reason="y")
            return database.session()

    told: list[str] = []

    class Breaker:
        def locked(self) -> None:
            told.append("locked")

        def written(self) -> None:
            told.append("written")

    beating = Heartbeat(Busy(), 2, 0.01, Breaker())  # type: ignore[arg-type] # what it uses of them
    beating.start()
    assert eventually(lambda: row(database).heartbeat >= 1)
    beating.stop()
    assert len(refused) == 3
    assert told[:4] == ["locked"] * 3 + ["written"]


def test_it_may_be_stopped_before_it_began(database: Database) -> None:
    heart_of(database).stop()
    assert row(database).heartbeat == 0


def test_preparing_again_keeps_the_subsystem_and_tells_of_the_start(config: Config, database: Database) -> None:
    with database.session() as session:
        first = session.query(Subsystem).one()
        session.get_one(Controller, 2).heartbeat = 41
    renamed = config.model_copy(update={"subsystem": "renamed"})
    again = open_state(renamed)
    prepare(again, renamed)
    with again.session(read_only=True) as session:
        assert session.query(Subsystem).one().id == first.id
        assert session.query(Event).filter_by(kind="controller-started").count() == 2
        (controller,) = ports.controllers(session)
        assert (controller.number, controller.heartbeat) == (2, 41)
        assert [port.address for port in controller.ports] == ["127.0.0.1"]
    again.dispose()
