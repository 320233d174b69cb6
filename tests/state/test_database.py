"""Transactions, migrations and failures of the state database, on a real SQLite file."""

import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from qreplica.access.roles import Role
from qreplica.events import log
from qreplica.license.serial import check_serial
from qreplica.state import database as module
from qreplica.state.access_models import AccessSession, User
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy, StateDamaged, StateDiskFull, StateReadOnly, StateTooNew
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Base, Controller, Cycle, Event, PathState, Port, Severity, Subsystem
from qreplica.state.models import Path as JobPath
from qreplica.state.schedule_models import QReplicaSettings

Start = Callable[..., "subprocess.Popen[str]"]


def names(database: Database) -> list[str]:
    with database.session(read_only=True) as session:
        return list(session.scalars(select(Event.subject).order_by(Event.id)))


def record(database: Database, subject: str, message: str = "something") -> None:
    with database.session() as session:
        log.record(session, Severity.INFO, "test", subject, message)


def test_a_session_is_committed_at_its_end(database: Database) -> None:
    record(database, "one")
    assert names(database) == ["one"]


def test_a_session_that_raises_leaves_nothing(database: Database) -> None:
    def half() -> None:
        with database.session() as session:
            log.record(session, Severity.INFO, "test", "one", "")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert names(database) == []
    record(database, "two")
    assert names(database) == ["two"]


def test_a_constraint_that_is_broken_stays_the_callers_business(database: Database) -> None:
    def twice() -> None:
        with database.session() as session:
            session.add_all([Controller(number=1), Controller(number=1)])

    with pytest.raises(IntegrityError):
        twice()
    with database.session(read_only=True) as session:
        assert session.scalar(select(func.count()).select_from(Controller)) == 0


def test_a_session_for_reading_refuses_writes(database: Database) -> None:
    def write() -> None:
        with database.session(read_only=True) as session:
            log.record(session, Severity.INFO, "test", "one", "")

    with pytest.raises(StateReadOnly):
        write()
    assert names(database) == []
    record(database, "two")
    assert names(database) == ["two"]


def test_a_reader_sees_one_moment_and_stops_nobody(database: Database) -> None:
    with database.session(read_only=True) as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 0
        record(database, "one")
        assert session.scalar(select(func.count()).select_from(Event)) == 0
    assert names(database) == ["one"]


def test_many_threads_have_sessions_at_once(database: Database) -> None:
    count = 40
    all_there = threading.Barrier(count, timeout=20)

    def read(_: int) -> int | None:
        with database.session(read_only=True) as session:
            all_there.wait()
            return session.scalar(select(func.count()).select_from(Event))

    with ThreadPoolExecutor(count) as pool:
        assert list(pool.map(read, range(count))) == [0] * count


_COUNT_UP = """
import sys
from qreplica.state.database import Database
from qreplica.state.models import Controller
database = Database(sys.argv[1])
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with database.session() as session:
        row = session.get_one(Controller, 1)
        row.heartbeat += 1
"""


def test_processes_that_race_lose_no_update(database: Database, url: str, other_process: Start) -> None:
    with database.session() as session:
        session.add(Controller(number=1))
    processes = [other_process(_COUNT_UP, url, 50) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
    with database.session(read_only=True) as session:
        assert session.get_one(Controller, 1).heartbeat == 150


_STAY = """
import sys
from qreplica.state.database import Database
from qreplica.state.models import Controller
with Database(sys.argv[1]).session() as session:
    session.add(Controller(number=7))
    session.flush()
    print("inside", flush=True)
    sys.stdin.readline()
"""


def test_a_process_stopped_in_a_transaction_is_told_of(
    database: Database, url: str, other_process: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.dispose()
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.2)
    impatient = Database(url)
    process = other_process(_STAY, url)
    assert process.stdout.readline() == "inside\n"
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(StateBusy, match=r"held by another process .*: try again"):
        record(impatient, "one")
    assert names(impatient) == []
    process.kill()
    process.wait()
    record(impatient, "two")
    assert names(impatient) == ["two"]
    with impatient.session(read_only=True) as session:
        assert session.get(Controller, 7) is None
    impatient.dispose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.root
def test_a_full_disk_is_told_of_and_nothing_changes(small_disk: Path) -> None:
    database = Database(f"sqlite:///{small_disk / 'qreplica.db'}")
    database.upgrade()
    record(database, "before")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(StateDiskFull, match=r"is full \(.* free\)"):
        record(database, "full", "x" * 100_000)
    assert names(database) == ["before"]
    filler.unlink()
    record(database, "after")
    assert names(database) == ["before", "after"]
    database.dispose()
    again = Database(f"sqlite:///{small_disk / 'qreplica.db'}")
    assert names(again) == ["before", "after"]
    again.dispose()


def test_a_file_that_is_no_database_is_told_of(url: str, tmp_path: Path) -> None:
    (tmp_path / "qreplica.db").write_bytes(b"not a database at all" * 1000)
    database = Database(url)
    with pytest.raises(StateDamaged, match="file is not a database: restore it from a copy"):
        database.upgrade()
    with pytest.raises(StateDamaged, match="file is not a database"):
        names(database)
    assert (tmp_path / "qreplica.db").read_bytes().startswith(b"not a database at all")
    database.dispose()


def test_damaged_pages_are_told_of(database: Database, url: str, tmp_path: Path) -> None:
    record(database, "one")
    database.dispose()
    file = tmp_path / "qreplica.db"
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * (size - 4096))
    damaged = Database(url)
    with pytest.raises(StateDamaged, match="malformed"):
        names(damaged)
    damaged.dispose()


def test_a_directory_that_is_gone_is_told_of(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'qreplica.db'}")
    with pytest.raises(StateDamaged, match="unable to open database file"):
        database.upgrade()


def schema(file: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return rows


def test_migrations_from_nothing_give_the_models(database: Database) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(module._MIGRATIONS))
    with database._engine.begin() as connection:
        configuration.attributes["connection"] = connection
        command.check(configuration)


@contextmanager
def older(place: Path, revision: str) -> Iterator[tuple[Database, Connection]]:
    """Give a database as an older version left it, and the connection on which it is made."""
    configuration = Config()
    configuration.set_main_option("script_location", str(module._MIGRATIONS))
    database = Database(f"sqlite:///{place}/old.db")
    with database._engine.begin() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)
        yield database, connection


def add_job(connection: Connection) -> None:
    """Insert job “j” of VD “v”, which has no path."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.exec_driver_sql(
        "INSERT INTO virtual_disks (id, name, type, size, snapshot_space, raid_group_id, serial, incomplete,"
        " created_at) VALUES ('v', 'v', 'RAID', 1, 0, 'g', 's', 0, '2026-01-01')"
    )
    connection.exec_driver_sql(
        "INSERT INTO raid_groups (id, name, level, usable, reserve, incomplete, created_at)"
        " VALUES ('g', 'g', 'jbod', 1, 0, 0, '2026-01-01')"
    )
    connection.exec_driver_sql(
        "INSERT INTO jobs (id, name, source_vd_id, target_subsystem, target_subsystem_name, target_node,"
        " target_lun, target_vd, target_vd_name, target_serial, target_size, state, controller, epoch, generation,"
        " created_at)"
        " VALUES ('j', 'j', 'v', 's', 's', 'n', 1, 't', 't', 's', 1, 'idle', 1, 1, 0, '2026-01-02 03:04:05.000000')"
    )


def test_paths_of_an_older_version_stand_by_since_their_job_was_made(tmp_path: Path) -> None:
    with older(tmp_path, "0004") as (database, connection):
        add_job(connection)
        connection.exec_driver_sql("INSERT INTO paths VALUES ('p', 'j', 0, '192.0.2.1', 3260, 3261)")
    database.upgrade()
    with database.session(read_only=True) as session:
        path = session.scalars(select(JobPath)).one()
        assert (path.address, path.state, path.reason) == ("192.0.2.1", PathState.STANDBY, None)
        assert path.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    database.dispose()


def test_cycles_of_an_older_version_know_when_their_snapshot_was_taken(tmp_path: Path) -> None:
    with older(tmp_path, "0010") as (database, connection):
        add_job(connection)
        connection.exec_driver_sql("INSERT INTO qreplica_settings VALUES (1, 3.0, 60, 0, 30, 'UTC')")
        connection.exec_driver_sql(
            "INSERT INTO snapshots (id, vd_id, name, kind, size, taken_at)"
            " VALUES ('c2', 'v', 'r', 'replication', 1, '2026-01-02 03:04:05.000000')"
        )
        for number in (1, 2):
            connection.exec_driver_sql(
                "INSERT INTO cycles (id, job_id, generation, step, total_bytes, zero_bytes, sent_bytes, done_bytes,"
                " checkpoint, resumes, rate, started_at, worker_peak_memory)"
                " VALUES (?, 'j', ?, 'done', 0, 0, 0, 0, 0, 0, 0, '2026-01-01', 0)",
                (f"c{number}", number),
            )
    database.upgrade()
    with database.session(read_only=True) as session:
        taken = [one.taken_at for one in session.scalars(select(Cycle).order_by(Cycle.generation))]
        assert taken == [None, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
        assert session.scalars(select(QReplicaSettings.progress_minutes)).one() == 15
        lag = session.scalars(select(JobLag)).one()
        assert (lag.job_id, lag.rpo_minutes, lag.progressed_at) == ("j", None, None)
    database.dispose()


def test_administrators_of_an_older_version_are_users_with_the_role_admin(tmp_path: Path) -> None:
    with older(tmp_path, "0005") as (database, connection):
        connection.exec_driver_sql("INSERT INTO administrators VALUES ('eve', '$hash', '2026-01-02 03:04:05.000000')")
        connection.exec_driver_sql("INSERT INTO tokens VALUES ('d', 'eve', '2026-01-02', '2026-01-03')")
    database.upgrade()
    with database.session(read_only=True) as session:
        user = session.scalars(select(User)).one()
        assert (user.name, user.role, user.password_hash, user.enabled) == ("eve", Role.ADMIN, "$hash", True)
        assert user.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert session.scalars(select(AccessSession)).all() == []
    database.dispose()


def test_a_subsystem_of_an_older_version_gets_a_serial_number_once(tmp_path: Path) -> None:
    with older(tmp_path, "0005") as (database, connection):
        connection.exec_driver_sql("INSERT INTO subsystem VALUES ('i', 'source', 'iqn.2026-11.org.x', '2026-01-01')")
        connection.exec_driver_sql("INSERT INTO controllers (number, heartbeat, version) VALUES (1, 7, '0.1.0')")
        connection.exec_driver_sql("INSERT INTO ports VALUES (1, 1, 'eth0', '192.0.2.1', 24, 0)")
    database.upgrade()
    with database.session(read_only=True) as session:
        serial = session.scalars(select(Subsystem.serial)).one()
        controller = session.get_one(Controller, 1)
        assert (controller.heartbeat, controller.license_id, controller.restarts_asked) == (7, None, 0)
        assert [port.interface for port in controller.ports] == ["eth0"]
    assert check_serial(serial) == serial
    database.upgrade()
    with database.session(read_only=True) as session:
        assert session.scalars(select(Subsystem.serial)).one() == serial
    database.dispose()


def test_an_upgrade_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    record(database, "one")
    before = schema(tmp_path / "qreplica.db")
    database.upgrade()
    assert schema(tmp_path / "qreplica.db") == before
    assert names(database) == ["one"]


_UPGRADE = """
import sys
from qreplica.state.database import Database
sys.stdin.readline()
Database(sys.argv[1]).upgrade()
"""


def test_processes_may_upgrade_at_once(tmp_path: Path, other_process: Start) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    processes = [other_process(_UPGRADE, url) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
    database = Database(url)
    assert names(database) == []
    database.dispose()


def test_connections_to_a_new_file_do_not_collide(tmp_path: Path) -> None:
    """Going over to WAL takes the file alone, and SQLite does not wait there as it does elsewhere."""
    for attempt in range(6):
        url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        together = threading.Barrier(8)

        def connect(_: int, url: str = url, together: threading.Barrier = together) -> None:
            database = Database(url)
            together.wait()
            with database.session() as session:
                session.execute(text("CREATE TABLE IF NOT EXISTS a (b)"))
                session.execute(text("INSERT INTO a VALUES (1)"))
            database.dispose()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(connect, range(8)))
        with sqlite3.connect(tmp_path / f"{attempt}.db") as connection:
            assert connection.execute("SELECT count(*) FROM a").fetchone() == (8,)
        connection.close()


def test_tables_of_a_newer_version_are_left_alone(database: Database, tmp_path: Path) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = schema(tmp_path / "qreplica.db")
    with pytest.raises(StateTooNew, match=r"newer version \(revision 9999\)"):
        database.upgrade()
    assert schema(tmp_path / "qreplica.db") == before


def test_what_is_committed_survives_a_kill(database: Database, url: str, other_process: Start) -> None:
    commit = """
import sys
from qreplica.access.roles import Role
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity
with Database(sys.argv[1]).session() as session:
    log.record(session, Severity.INFO, "test", "one", "")
print("done", flush=True)
sys.stdin.readline()
"""
    process = other_process(commit, url)
    assert process.stdout.readline() == "done\n"
    process.kill()
    process.wait()
    assert names(database) == ["one"]


def test_references_are_enforced(database: Database) -> None:
    for table in Base.metadata.sorted_tables:
        assert table.name in {row[1] for row in schema(Path(database.place))}
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(Port(controller=9, number=1, interface="eth0", address="192.0.2.1", prefix_length=24))
