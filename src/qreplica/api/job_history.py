"""What jobs sent and how far they lagged behind over the last hours, for charts."""

from typing import Annotated

from fastapi import Query

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Time, example
from qreplica.api.problems import problems
from qreplica.replication import history, jobs
from qreplica.state.models import now

router = administered("", "replication")

Hours = Annotated[int, Query(ge=1, le=168, description="How many hours back")]


class Span(Answer):
    """A span of time: what was sent in it, and the lag at its end."""

    end: Time
    rate: float
    lag_seconds: float | None


class HistoryAnswer(Answer):
    """The time before now, in spans of equal length.

    `rate` is bytes sent a second; `lag_seconds` is the lag of the copy that was furthest behind, null before the first.
    """

    model_config = example(
        {"spans": [{"end": "2026-11-03T02:15:00.000Z", "rate": 1048576.0, "lag_seconds": 903.2}], "span_seconds": 900.0}
    )
    span_seconds: float
    spans: list[Span]

    @classmethod
    def of(cls, found: history.History) -> "HistoryAnswer":
        """Make the answer."""
        return cls(
            span_seconds=found.span.total_seconds(),
            spans=[
                Span(end=end, rate=rate, lag_seconds=lag)
                for end, rate, lag in zip(found.ends, found.rates, found.lags, strict=True)
            ],
        )


@router.get("/qreplica/history", summary="Show what all jobs did", responses=problems())
def show_history(services: TheServices, hours: Hours = 24) -> HistoryAnswer:
    """Show what all jobs together sent, and the worst lag, over the last hours."""
    with services.database.session(read_only=True) as session:
        return HistoryAnswer.of(history.of(session, hours, now()))


@router.get("/jobs/{name}/history", summary="Show what a job did", responses=problems(404))
def show_job_history(name: str, services: TheServices, hours: Hours = 24) -> HistoryAnswer:
    """Show what a job sent, and how far its copy lagged behind, over the last hours."""
    with services.database.session(read_only=True) as session:
        return HistoryAnswer.of(history.of(session, hours, now(), jobs.get(session, name).id))
