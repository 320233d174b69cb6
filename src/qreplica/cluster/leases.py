"""Leases: of two controllers, one at a time does what only one may do.

A table of leases has a row for each thing, with its primary key, and the columns ``controller`` (0: nobody), ``term``,
``renewals`` and ``since``. The holder counts ``renewals`` up; whoever sees the row unchanged for ``takeover`` seconds,
on its own monotonic clock, may take it, which raises the ``term``. No wall clocks are compared, and every change is a
compare-and-set, so that of two who try one succeeds. A holder stops trusting its lease earlier than others may take it,
and each of its transactions can ``confirm`` it: one that slept finds that it lost.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import CursorResult, Row, Table, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from qreplica.cluster.errors import LeaseLost
from qreplica.state.database import Database
from qreplica.state.models import now

#: The ``controller`` of a lease that its holder gave up.
NOBODY = 0
#: The share of ``takeover`` for which a holder trusts a renewal; the rest is to finish what it is at.
_TRUSTED = 0.8


@dataclass(frozen=True, slots=True)
class Lease:
    """A thing, and the term for which somebody holds its lease; terms of one thing only ever grow."""

    key: str
    term: int


class Leases:
    """The leases of one table as one controller sees them. One thread calls ``keep``; any may call the rest."""

    def __init__(
        self,
        database: Database,
        table: Table,
        controller: int,
        *,
        takeover: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        (self._key,) = table.primary_key.columns
        self._database = database
        self._table = table
        self._controller = controller
        self._takeover = takeover
        self._clock = clock
        #: Each with when it was last renewed; replaced as a whole, so that readers need no lock.
        self._held: Mapping[str, tuple[Lease, float]] = {}
        #: What was last seen of those that others hold, and since when it is so.
        self._seen: dict[str, tuple[tuple[int, ...], float]] = {}

    def keep(self, keys: Iterable[str]) -> list[Lease]:
        """Renew what is held of ``keys`` and take what is free; return what was taken just now.

        To be called every second or so. What is held of other keys is let go of silently, as of things that are gone.
        What the database raises leaves all as it was; leases then run out on their own.
        """
        began = self._clock()
        keys = list(keys)
        with self._database.session(read_only=True) as session:
            rows: dict[str, Row[Any]] = {row[0]: row for row in session.execute(select(self._key, *self._columns()))}
        mine = [key for key in keys if self._is_mine(key, rows.get(key))]
        # Others' renewals are watched whether or not their leases are wanted now: they may be in a moment.
        free = {key for key in [*keys, *rows] if key not in mine and self._is_free(key, rows.get(key), began)}
        free &= set(keys)
        taken: list[Lease] = []
        held = {key: (self._held[key][0], began) for key in mine}
        if mine or free:
            with self._database.session() as session:
                held = {key: lease for key, lease in held.items() if self._renew(session, lease[0])}
                taken = [
                    lease for key in sorted(free) if (lease := self._take(session, key, rows.get(key))) is not None
                ]
        self._held = held | {lease.key: (lease, began) for lease in taken}
        return taken

    def held(self, key: str) -> Lease | None:
        """Return the lease of ``key`` if it is this controller's and was renewed lately."""
        lease, renewed = self._held.get(key, (None, 0.0))
        return lease if self._clock() - renewed < self._takeover * _TRUSTED else None

    def confirm(self, session: Session, lease: Lease) -> None:
        """Raise LeaseLost unless ``lease`` is still in force; it then stays so to the end of the transaction."""
        row = select(self._table).where(*self._is(lease)).with_for_update()
        if session.execute(row).first() is None:
            raise LeaseLost(controller=self._controller, key=lease.key, term=lease.term)

    def release(self, key: str) -> None:
        """Let go of the lease of ``key``, so that another may take it at once. Idempotent.

        Only from the thread that calls ``keep``.
        """
        lease, _ = self._held.get(key, (None, 0.0))
        self._held = {held: facts for held, facts in self._held.items() if held != key}
        if lease is not None:
            with self._database.session() as session:
                session.execute(update(self._table).where(*self._is(lease)).values(controller=NOBODY))

    def give_up(self) -> None:
        """Let go of all that is held, so that others need not wait. Idempotent."""
        held, self._held = self._held, {}
        if held:
            with self._database.session() as session:
                for lease, _ in held.values():
                    session.execute(update(self._table).where(*self._is(lease)).values(controller=NOBODY))

    def _columns(self) -> tuple[Any, ...]:
        columns = self._table.columns
        return (columns.controller, columns.term, columns.renewals)

    def _is(self, lease: Lease) -> tuple[Any, ...]:
        controller, term, _ = self._columns()
        return (self._key == lease.key, controller == self._controller, term == lease.term)

    def _is_mine(self, key: str, row: Row[Any] | None) -> bool:
        lease = self._held.get(key)
        return lease is not None and row is not None and (row.controller, row.term) == (self._controller, lease[0].term)

    def _is_free(self, key: str, row: Row[Any] | None, at: float) -> bool:
        # One process runs a controller, so that what says this one's name and is not held is a dead process's.
        if row is None or row.controller in {NOBODY, self._controller}:
            return True
        facts = (row.controller, row.term, row.renewals)
        seen, since = self._seen.get(key, ((), at))
        if seen != facts:
            self._seen[key] = (facts, at)
            return False
        return at - since >= self._takeover

    def _renew(self, session: Session, lease: Lease) -> bool:
        renewals = self._table.columns.renewals
        return _changed(
            session.execute(update(self._table).where(*self._is(lease)).values(renewals=renewals + 1)),
        )

    def _take(self, session: Session, key: str, row: Row[Any] | None) -> Lease | None:
        facts = {"controller": self._controller, "renewals": 0, "since": now()}
        if row is None:
            try:
                with session.begin_nested():
                    session.execute(insert(self._table).values({self._key.name: key, "term": 1, **facts}))
            except IntegrityError:
                # Another one was faster, or the thing is gone.
                return None
            return Lease(key, 1)
        controller, term, renewals = self._columns()
        as_seen = (self._key == key, controller == row.controller, term == row.term, renewals == row.renewals)
        done = session.execute(update(self._table).where(*as_seen).values(term=row.term + 1, **facts))
        return Lease(key, row.term + 1) if _changed(done) else None


def _changed(result: object) -> bool:
    return cast("CursorResult[Any]", result).rowcount == 1
