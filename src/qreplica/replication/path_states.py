"""How the state of a job's path changes."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from qreplica.state.models import Job, Path, PathState, now


def carried_by(job: Job, path: str | None) -> None:
    """Note that the path with that id carries the job's data, and no other; None: no path does."""
    for one in job.paths:
        if one.id == path:
            _change(one, PathState.ACTIVE)
        elif one.state is PathState.ACTIVE:
            _change(one, PathState.STANDBY)


def fail(path: Path, reason: str) -> bool:
    """Note that a path failed, and why the last time; return whether it had not before."""
    news = path.state is not PathState.FAILED
    _change(path, PathState.FAILED)
    path.reason = reason
    return news


def revive(session: Session, path: str, failed_since: datetime) -> bool:
    """Have a path that failed then stand by; return whether it did, and its job has not used it in the meantime."""
    still = update(Path).where(Path.id == path, Path.state == PathState.FAILED, Path.since == failed_since)
    changed = session.execute(still.values(state=PathState.STANDBY, reason=None, since=now()))
    return bool(changed.rowcount == 1)  # type: ignore[attr-defined] # every UPDATE's result has it


def _change(path: Path, state: PathState) -> None:
    if path.state is not state:
        path.state, path.reason, path.since = state, None, now()
