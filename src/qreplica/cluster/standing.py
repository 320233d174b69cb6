"""How each controller stands, as people see it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from qreplica.cluster.duties import doer
from qreplica.iscsi import ports
from qreplica.state.models import Controller, Duty, now

#: Heartbeats are written with the wall clock, which this compares; takeovers depend on nothing of the kind.
_SILENT = timedelta(seconds=30)


class Standing(StrEnum):
    """ONLINE: it runs its jobs. TAKEN_OVER: the other one does. FAILED: nobody does. STOPPED: nobody, by order."""

    ONLINE = "online"
    TAKEN_OVER = "taken-over"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """A controller: since when it stands so, whether its heart beats, and the controllers whose jobs it runs.

    ``restarting``: it is to restart, or is in the middle of it.
    """

    number: int
    standing: Standing
    since: datetime | None
    alive: bool
    runs_jobs_of: tuple[int, ...]
    started_at: datetime | None
    heartbeat_at: datetime | None
    version: str
    management: str | None
    fingerprint: str | None
    restarting: bool


def listing(session: Session, mine: int) -> list[ControllerStatus]:
    """Return all controllers by number; ``mine``, which asks, is alive."""
    rows = ports.controllers(session)
    return [_of(session, row, mine, [one.number for one in rows]) for row in rows]


def _of(session: Session, row: Controller, mine: int, numbers: list[int]) -> ControllerStatus:
    alive = row.number == mine or (row.heartbeat_at is not None and now() - row.heartbeat_at < _SILENT)
    duty = session.get(Duty, str(row.number))
    since: datetime | None
    if duty is not None and duty.controller in set(numbers) - {row.number}:
        standing, since = Standing.TAKEN_OVER, duty.since
    elif alive:
        standing, since = Standing.ONLINE, row.started_at
    elif row.heartbeat_at is None:
        standing, since = Standing.STOPPED, None
    else:
        standing, since = Standing.FAILED, row.heartbeat_at
    return ControllerStatus(
        row.number,
        standing,
        since,
        alive,
        tuple(number for number in numbers if doer(session, number) == row.number),
        row.started_at,
        row.heartbeat_at,
        row.version,
        row.management,
        row.fingerprint,
        row.restarts_asked > row.restarts_done,
    )
