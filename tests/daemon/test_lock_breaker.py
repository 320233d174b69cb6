"""A process that stops while it writes the state is killed if it is one of ours, and told of otherwise."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.lock_breaker import Holder, LockBreaker, may_be_killed
from qreplica.daemon.main import prepare
from qreplica.daemon.state import open_state
from qreplica.iscsi.target.pause import stopped
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import Controller, Event, Subsystem

from .running import eventually

_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE subsystem SET name = 'half-written'")
print("held", flush=True)
sys.stdin.read()
"""
WORKER = "qreplica.replication.worker"
Hold = Callable[..., "subprocess.Popen[str]"]


class Busy:
    """A database that another process holds."""

    def session(self) -> object:
        raise StateBusy(place="x", reason="y")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    port = PortConfig(number=4, interface="lo", address="127.0.0.1")
    config = Config(
        subsystem="source", controller=1, state_dir=tmp_path, runtime_dir=tmp_path, tgt_control_port=1, ports=(port,)
    )
    made = open_state(config)
    prepare(made, config)
    yield made
    made.dispose()


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Run a program of that name, which writes the state and does not come to an end with it."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
        program = tmp_path / name
        program.write_text(_HOLD)
        command = [sys.executable, str(program), str(tmp_path / "qreplica.db"), *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def breaker(database: Database, directory: Path, patience: float = 0) -> LockBreaker:
    return LockBreaker(database, 1, directory, patience=patience, between=0.05)


def stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: stopped(process.pid))


def note(directory: Path, controller: int, pid: int) -> None:
    """Write down what a daemon does when it starts."""
    (directory / f"controller-{controller}.lock").write_text(f"{pid}\n")


def told(database: Database) -> list[tuple[str, str]]:
    with database.session(read_only=True) as session:
        assert session.query(Subsystem).one().name == "source"
        chosen = session.query(Event).filter(Event.kind.startswith("state-lock"))
        return [(event.kind, event.message) for event in chosen]


def beat(database: Database) -> int:
    with database.session() as session:
        row = session.get_one(Controller, 1)
        row.heartbeat += 1
        return row.heartbeat


def test_a_daemon_that_stopped_is_killed(database: Database, tmp_path: Path, hold: Hold) -> None:
    process = hold("qreplicad", "--config", "x.toml")
    note(tmp_path, 2, process.pid)
    stop(process)
    breaking = breaker(database, tmp_path)
    breaking.locked()
    assert process.wait(60) == -signal.SIGKILL
    assert beat(database) == 1
    for _ in range(2):
        breaking.written()
    ((kind, message),) = told(database)
    assert kind == "state-lock-broken"
    assert f"process {process.pid} (the daemon of controller 2) stood still" in message
    assert "see that controller 2 is started again" in message


def test_a_worker_that_stopped_is_killed(database: Database, tmp_path: Path, hold: Hold) -> None:
    process = hold("worker", WORKER)
    note(tmp_path, 1, os.getpid())
    stop(process)
    breaking = breaker(database, tmp_path)
    breaking.locked()
    assert process.wait(60) == -signal.SIGKILL
    breaking.written()
    ((kind, message),) = told(database)
    assert kind == "state-lock-broken"
    assert f"process {process.pid} (a worker of controller 1)" in message
    assert "started again" not in message


@pytest.mark.parametrize(
    ("command", "noted", "stops", "reason"),
    [
        (["sqlite-copier"], False, True, "(python"),
        # A later process under the pid that a daemon had.
        (["sqlite-copier"], True, True, "no part of this subsystem"),
        # Those of another subsystem, whatever they do here.
        (["qreplicad"], False, True, "no part of this subsystem"),
        (["worker", WORKER], False, True, "no part of this subsystem"),
        (["qreplicad"], True, False, "(the daemon of controller 2) held"),
    ],
)
def test_anybody_else_is_left_alone_and_told_of(
    database: Database, tmp_path: Path, hold: Hold, *, command: list[str], noted: bool, stops: bool, reason: str
) -> None:
    process = hold(*command)
    if noted:
        note(tmp_path, 2, process.pid)
    if stops:
        stop(process)
    breaking = breaker(database, tmp_path)
    for _ in range(2):
        breaking.locked()
    assert process.poll() is None
    process.kill()
    process.wait()
    breaking.written()
    ((kind, message),) = told(database)
    assert kind == "state-locked"
    assert f"process {process.pid} (" in message
    assert reason in message


def test_nobody_is_looked_at_before_it_has_lasted(database: Database, tmp_path: Path, hold: Hold) -> None:
    process = hold("qreplicad")
    note(tmp_path, 2, process.pid)
    stop(process)
    breaking = breaker(database, tmp_path, patience=3600)
    breaking.locked()
    assert process.poll() is None
    process.kill()
    process.wait()
    breaking.written()
    assert told(database) == []


def test_a_lock_that_is_free_by_now_is_nobodys(database: Database, tmp_path: Path) -> None:
    breaking = breaker(database, tmp_path)
    breaking.locked()
    breaking.written()
    assert told(database) == []


def test_what_cannot_be_told_yet_is_told_later(
    database: Database, tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = hold("sqlite-copier")
    breaking = breaker(database, tmp_path)
    breaking.locked()
    # Another one comes between, which keeps even the event from being written.
    monkeypatch.setattr(breaking, "_database", Busy())
    breaking.written()
    monkeypatch.setattr(breaking, "_database", database)
    process.kill()
    process.wait()
    assert told(database) == []
    breaking.written()
    assert [kind for kind, _ in told(database)] == ["state-locked"]


def test_one_that_ran_in_between_or_is_another_is_not_killed() -> None:
    one = Holder(7, "qreplicad", 1000, 2, worker=False, still={"7": 41, "8": 3})
    assert may_be_killed(one, replace(one))
    assert may_be_killed(replace(one, worker=True), replace(one, worker=True))
    for other in (
        replace(one, still={"7": 41, "8": 4}),
        replace(one, still=None),
        replace(one, started=1001),
        replace(one, controller=None),
    ):
        assert not may_be_killed(one, other)
        assert not may_be_killed(other, one)
    for never in (replace(one, still=None), replace(one, controller=None)):
        assert not may_be_killed(never, never)
