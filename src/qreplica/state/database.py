"""The connection to the state database: transactions, migrations, and its failures in our words.

Everything that is true of SQLite alone is in this file and ``lock_holder.py``. SQLite runs in WAL mode with
``synchronous=FULL``, so that a committed step survives loss of power, and a writing transaction takes the write lock at
its beginning, so that two controllers never fail half-way on a lock upgrade.
"""

import copy
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.state.errors import StateBusy, StateDamaged, StateDiskFull, StateReadOnly, StateTooNew

#: How long a transaction waits for another process's write lock, in seconds.
LOCK_PATIENCE = 10.0
_WAL_POLL = 0.01

_MIGRATIONS = Path(__file__).parent / "migrations"
_DISK_FULL = ("disk is full", "No space left")
#: Where SQLite cannot tell why a write failed, less free space than this (bytes) is the likely cause.
_IO_ERROR, _HARDLY_ANY = "disk I/O error", 1 << 20
_BUSY = ("database is locked", "database table is locked", "database is busy")
_READ_ONLY = "attempt to write a readonly database"


class Database:
    """One state database, used by any number of threads; ``url`` is SQLAlchemy's."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.place = self._url.database or self._url.render_as_string(hide_password=True)
        self._engine = _create_engine(url)
        self._confirm: Callable[[Session], None] = _agree

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database; None for one of another kind."""
        return Path(self.place) if self._url.get_backend_name() == "sqlite" else None

    def fenced(self, confirm: Callable[[Session], None]) -> Self:
        """Return the same database, each of whose transactions that write begins with ``confirm``, which may raise.

        So that who acts under a lease can change nothing once it has lost it.
        """
        fenced = copy.copy(self)
        fenced._confirm = confirm  # noqa: SLF001 - its own
        return fenced

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        """Give a session that is committed at the end and rolled back when the block raises.

        ``read_only`` takes no write lock. Raises StateDiskFull, StateBusy, StateReadOnly (also for writing in a
        ``read_only`` one) or StateDamaged in place of the driver's errors; then nothing of the transaction was written.
        """
        engine = self._engine.execution_options(read_only=read_only)
        with self._own_words(), Session(engine, expire_on_commit=False) as session, session.begin():
            if not read_only:
                self._confirm(session)
            yield session

    def upgrade(self) -> None:
        """Bring the tables to this version's; idempotent. Raises StateTooNew for those of a newer version."""
        # Only daemons bring tables up to date; workers start faster, and stay smaller, without these.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        configuration = Config()
        configuration.set_main_option("script_location", str(_MIGRATIONS))
        script = ScriptDirectory.from_config(configuration)
        with self._own_words(), self._engine.begin() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
            if present is not None and present not in {revision.revision for revision in script.walk_revisions()}:
                raise StateTooNew(place=self.place, revision=present)
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _own_words(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise self._translated(error) from error

    def _translated(self, error: DatabaseError) -> QReplicaError | DatabaseError:
        reason = str(error.orig)
        if not isinstance(error, OperationalError) and not isinstance(error.orig, sqlite3.DatabaseError):
            return error
        if any(word in reason for word in _DISK_FULL) or (_IO_ERROR in reason and self._free() < _HARDLY_ANY):
            return StateDiskFull(place=self.place, free=self._free())
        if any(word in reason for word in _BUSY):
            return StateBusy(place=self.place, reason=reason)
        if _READ_ONLY in reason:
            return StateReadOnly(place=self.place, reason=reason)
        if isinstance(error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            return error
        return StateDamaged(place=self.place, reason=reason)

    def _free(self) -> int:
        directory = Path(self.place).parent
        return shutil.disk_usage(directory).free if directory.is_dir() else 0


def _agree(_: Session) -> None:
    """Have nothing to object."""


def _create_engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    # As many connections as there are threads: one that waits for a lock must not keep the others from reading.
    engine = create_engine(url, connect_args={"timeout": LOCK_PATIENCE}, max_overflow=-1)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """Leave transactions to ``_begin``: the module would otherwise begin one late, at the first write."""
    connection.isolation_level = None
    _go_over_to_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _go_over_to_wal(connection: sqlite3.Connection) -> None:
    """Do it with the patience that SQLite has elsewhere: here it gives up at once when another does the same."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if not any(word in str(error) for word in _BUSY) or time.monotonic() >= deadline:
                raise
            time.sleep(_WAL_POLL)
        else:
            return


def _begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
