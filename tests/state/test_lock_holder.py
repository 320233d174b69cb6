"""Who holds the write lock of the state database, asked of the kernel."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from qreplica.state.database import Database
from qreplica.state.lock_holder import holder

Start = Callable[..., "subprocess.Popen[str]"]
_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def file(database: Database) -> Path:
    assert database.file is not None
    return database.file


def test_it_is_another_process_as_long_as_that_writes(file: Path, other_process: Start) -> None:
    assert holder(file) is None
    process = other_process(_HOLD, file)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert holder(file) == process.pid
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "free\n"
    assert holder(file) is None


def test_to_ask_gives_no_lock_of_ones_own_back(file: Path, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE controllers SET heartbeat = heartbeat + 1"))
        for _ in range(2):
            assert holder(file) == os.getpid()
        with (
            closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
    assert holder(file) is None


def test_one_who_only_reads_holds_nothing(file: Path, database: Database) -> None:
    with database.session(read_only=True) as session:
        session.execute(text("SELECT count(*) FROM controllers")).one()
        assert holder(file) is None


def test_of_what_is_not_there_nobody_is(tmp_path: Path) -> None:
    assert holder(tmp_path / "nothing.db") is None


def test_a_database_of_another_kind_has_no_file(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_url", make_url("postgresql://db/qreplica"))
    assert database.file is None
