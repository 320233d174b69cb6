"""What jobs sent, and how far their copies lagged behind, over the last hours: as charts show it.

``rates`` and ``lags`` are pure; ``of`` looks both up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.state.models import Cycle, Outcome

#: Into so many spans the time is divided: a quarter of an hour of a day.
SPANS = 96


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a job: what it has ``sent``, in bytes, from ``begun`` to ``ended`` or as far as it is.

    ``point`` is when the content of the recovery point was frozen that it made, None if it made none.
    """

    job: str
    begun: datetime
    ended: datetime
    sent: int
    point: datetime | None


@dataclass(frozen=True, slots=True)
class History:
    """By span, each ``span`` long and up to one of ``ends``: bytes sent a second, and the worst lag then in seconds.

    The lag is None where there was no recovery point yet.
    """

    span: timedelta
    ends: Sequence[datetime]
    rates: Sequence[float]
    lags: Sequence[float | None]


def of(session: Session, hours: int, at: datetime, job: str | None = None) -> History:
    """Return the last ``hours`` up to ``at``, of one job by its id or of all together."""
    begin, span = at - timedelta(hours=hours), timedelta(hours=hours) / SPANS
    ends = [begin + span * (number + 1) for number in range(SPANS)]
    ended = func.coalesce(Cycle.finished_at, Cycle.progressed_at, Cycle.started_at)
    frozen = func.coalesce(Cycle.taken_at, Cycle.started_at)
    # Columns, not rows: a hundred jobs that run each minute have made a hundred thousand of them in a day.
    chosen = select(Cycle.job_id, Cycle.started_at, ended, Cycle.sent_bytes, frozen, Cycle.outcome).where(ended > begin)
    before = select(Cycle.job_id, func.max(frozen)).where(ended <= begin, Cycle.outcome == Outcome.COMMITTED)
    if job is not None:
        chosen, before = chosen.where(Cycle.job_id == job), before.where(Cycle.job_id == job)
    runs = [
        Run(one, begun, until, sent, point if outcome is Outcome.COMMITTED else None)
        for one, begun, until, sent, point, outcome in session.execute(chosen.order_by(Cycle.job_id, Cycle.generation))
    ]
    points = {one: point for one, point in session.execute(before.group_by(Cycle.job_id))}  # noqa: C416
    return History(span, ends, rates(runs, begin, span), lags(runs, points, ends))


def rates(runs: Iterable[Run], begin: datetime, span: timedelta, spans: int = SPANS) -> list[float]:
    """Return by span what was sent in it, in bytes a second: each run is taken to have sent at an even rate."""
    length = span.total_seconds()
    found = [0.0] * spans
    for run in runs:
        first, last = ((one - begin).total_seconds() / length for one in (run.begun, run.ended))
        if last <= first:
            # A run of no length, or one during which a clock was set back, sent all where it ended.
            if 0 <= last < spans:
                found[int(last)] += run.sent / length
            continue
        rate = run.sent / (last - first)
        for number in range(max(0, int(first)), min(spans - 1, int(last)) + 1):
            found[number] += rate * max(0.0, min(last, number + 1) - max(first, number)) / length
    return found


def lags(runs: Sequence[Run], before: Mapping[str, datetime], at: Sequence[datetime]) -> list[float | None]:
    """Return for each of the moments, which ascend, the seconds by which the copy lagged that was furthest behind.

    ``runs`` are ordered by job and then by generation; ``before`` has the points which jobs had before them all.
    """
    worst: list[float | None] = [None] * len(at)
    made = {job: [run for run in group if run.point is not None] for job, group in groupby(runs, attrgetter("job"))}
    for job in made.keys() | before.keys():
        point, following = before.get(job), iter(made.get(job, []))
        run = next(following, None)
        for number, moment in enumerate(at):
            while run is not None and run.ended <= moment:
                point, run = run.point, next(following, None)
            if point is not None:
                behind = max(0.0, (moment - point).total_seconds())
                worst[number] = max(behind, worst[number] or 0.0)
    return worst
