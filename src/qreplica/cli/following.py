"""Shows a running job until it ends."""

import time
from typing import Any

from qreplica.cli import output
from qreplica.cli.context import Session, path
from qreplica.cli.errors import FollowedJobFailed
from qreplica.cli.job_views import kind
from qreplica.cli.progress import Display, Progress, display
from qreplica.units import format_duration, format_rate, format_size

#: Seconds between two looks at a job.
INTERVAL = 0.5
_UNDER_WAY = {"queued", "running", "stopping", "waiting"}


def follow(here: Session, name: str) -> None:
    """Show the progress of job ``name`` on stderr until it ends, then its outcome on stdout.

    Raises FollowedJobFailed when it ended otherwise than by a commit.
    """
    with display(as_json=here.as_json) as shown_on:
        shown = _Shown(shown_on)
        job = here.api.get(path("jobs", name))
        shown.update(job)
        while job["state"] in _UNDER_WAY:
            time.sleep(INTERVAL)
            job = here.api.get(path("jobs", name))
            shown.update(job)
    if here.as_json:
        output.print_json(job)
    if job["state"] != "idle":
        reason = job["error"]["sentence"] if job["error"] else f"start it again with “qreplica job start {name}”."
        raise FollowedJobFailed(name=name, state=job["state"], reason=reason)
    if not here.as_json:
        output.print_view(outcome(job))


def outcome(job: dict[str, Any]) -> str:
    """Return the sentence that tells what the last cycle did."""
    cycle = job["cycle"]
    if cycle is None or cycle["finished_at"] is None:
        return f"Job “{job['name']}” is not running."
    took = "" if cycle["seconds"] is None else f" in {format_duration(cycle['seconds'])}"
    compared = cycle["compared_bytes"]
    whole = f"{format_size(compared)} compared" if compared else f"{format_size(cycle['total_bytes'])} changed"
    sizes = f"{whole}, {format_size(cycle['sent_bytes'])} sent{took}"
    return (
        f"Job “{job['name']}”: recovery point {cycle['generation']} is committed on {job['target_subsystem']} "
        f"({kind(cycle)}, {sizes})."
    )


class _Shown:
    """A job on a display; why it waits is told once."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._reason = ""

    def update(self, job: dict[str, Any]) -> None:
        """Show the job as it now is."""
        cycle = job["cycle"]
        if cycle is not None and cycle["finished_at"] is None and job["state"] in _UNDER_WAY:
            at = Progress(job["name"], cycle["step"], cycle["percent"], figures(cycle), run=cycle["generation"])
            self._display.update(at, waiting=job["state"] in {"queued", "waiting"})
        if _reason(job) != self._reason:
            self._reason = _reason(job)
            if self._reason:
                self._display.remark(job["name"], self._reason)


def _reason(job: dict[str, Any]) -> str:
    """Return why the job waits, for its turn or for a way to its target; nothing when it does not."""
    if job["queued"]:
        return f"queued: {job['queued']['sentence']}"
    return f"waiting: {job['error']['sentence']}" if job["state"] == "waiting" and job["error"] else ""


def figures(cycle: dict[str, Any]) -> str:
    """Return how far a cycle is, how fast, and how long it still takes."""
    done = f"{format_size(cycle['done_bytes'])} of {format_size(cycle['total_bytes'])}"
    if cycle["compared_bytes"]:
        done += f", {format_size(cycle['compared_bytes'])} compared, {format_size(cycle['sent_bytes'])} sent"
    if cycle["eta_seconds"] is None:
        return f"{done}  {format_rate(cycle['rate'])}"
    return f"{done}  {format_rate(cycle['rate'])}  {format_duration(cycle['eta_seconds'])} left"
