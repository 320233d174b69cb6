"""Writes and reads the audit log: who changed what, and who was refused.

An entry is written before the change begins, so that none happens without one; the outcome is added before the answer
goes out. One that has none belongs to a daemon that was killed meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from qreplica.access.sessions import Caller
from qreplica.errors import QReplicaError
from qreplica.state.access_models import AuditEntry
from qreplica.state.database import Database
from qreplica.state.models import now

#: How many entries are kept of changes, and of refusals and failures, which must not push those out.
KEEP, KEEP_REFUSED = 100_000, 10_000
#: How long they are kept.
AGE = timedelta(days=731)
_TIDY_EVERY = 100
_PAGE = 1_000
#: Of texts that come with a request no more is kept, in characters.
LONGEST = 2_000
_REFUSED = 400

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Action:
    """What is done: the operation's id, the path that it acts on, and what was asked for, without secrets."""

    operation: str
    subject: str
    details: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered: the HTTP status, and the kind of the problem, if it is one."""

    status: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to read; None is any. ``refused``: whether those that were refused or failed, or the others."""

    user: str | None = None
    operation: str | None = None
    refused: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """The audit log, as one of the controllers writes it."""

    def __init__(self, database: Database, controller: int) -> None:
        self._database = database
        self._controller = controller

    def begin(self, caller: Caller, address: str | None, action: Action) -> int:
        """Write that the caller is about to do something; return the entry's id for ``end``."""
        return self._write(self._entry(action, address, caller))

    def end(self, number: int, outcome: Outcome) -> None:
        """Add the outcome. Where it cannot be written the daemon's log has it: what was done is done."""
        try:
            with self._database.session() as session:
                entry = session.get(AuditEntry, number)
                if entry is not None:
                    entry.status, entry.problem = outcome.status, outcome.problem
        except QReplicaError as error:
            _log.error("audit outcome not written", entry=number, outcome=outcome.status, reason=error.sentence)

    def note(
        self,
        address: str | None,
        action: Action,
        outcome: Outcome,
        *,
        caller: Caller | None = None,
        claimed: str | None = None,
    ) -> None:
        """Write what is over already: a refusal, or a log-in by whoever claims to be ``claimed``."""
        entry = self._entry(action, address, caller)
        entry.user = claimed if caller is None else caller.user
        entry.status, entry.problem = outcome.status, outcome.problem
        try:
            self._write(entry)
        except QReplicaError as error:
            _log.error("audit entry not written", operation=action.operation, user=entry.user, reason=error.sentence)

    def recent(self, wanted: Wanted, *, limit: int, before: int | None = None) -> list[AuditEntry]:
        """Return the newest entries, newest first, ``limit`` at most, with ids below ``before``."""
        chosen = select(AuditEntry).where(*_conditions(wanted)).order_by(AuditEntry.id.desc()).limit(limit)
        with self._database.session(read_only=True) as session:
            return list(session.scalars(chosen if before is None else chosen.where(AuditEntry.id < before)))

    def all(self, wanted: Wanted) -> Iterator[AuditEntry]:
        """Yield all entries, newest first, read in parts so that none is held for long."""
        before = None
        while page := self.recent(wanted, limit=_PAGE, before=before):
            yield from page
            before = page[-1].id

    def _entry(self, action: Action, address: str | None, caller: Caller | None) -> AuditEntry:
        return AuditEntry(
            controller=self._controller,
            user=None if caller is None else caller.user,
            role=None if caller is None else caller.role,
            token=None if caller is None else caller.token,
            address=address,
            operation=action.operation,
            subject=action.subject[:LONGEST],
            details=None if action.details is None else action.details[:LONGEST],
        )

    def _write(self, entry: AuditEntry) -> int:
        with self._database.session() as session:
            session.add(entry)
            session.flush()
            if entry.id % _TIDY_EVERY == 0:
                _tidy(session)
            return entry.id


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.user is not None:
        yield AuditEntry.user == wanted.user
    if wanted.operation is not None:
        yield AuditEntry.operation == wanted.operation
    if wanted.refused is not None:
        yield AuditEntry.status >= _REFUSED if wanted.refused else _not_refused()
    if wanted.since is not None:
        yield AuditEntry.at >= wanted.since
    if wanted.until is not None:
        yield AuditEntry.at <= wanted.until


def _not_refused() -> ColumnElement[bool]:
    return or_(AuditEntry.status.is_(None), AuditEntry.status < _REFUSED)


def _tidy(session: Session) -> None:
    """Let go of what is too old or too many."""
    session.execute(delete(AuditEntry).where(AuditEntry.at < now() - AGE))
    for condition, keep in ((_not_refused(), KEEP), (AuditEntry.status >= _REFUSED, KEEP_REFUSED)):
        newest_to_go = select(AuditEntry.id).where(condition).order_by(AuditEntry.id.desc()).offset(keep).limit(1)
        number = session.scalar(newest_to_go)
        if number is not None:
            session.execute(delete(AuditEntry).where(condition, AuditEntry.id <= number))
