"""Shows a running job until it ends: a live bar on a terminal, plain lines elsewhere."""

import time
from typing import Any, Protocol, Self

from rich.progress import BarColumn, Progress, TextColumn

from qreplica.cli import output
from qreplica.cli.context import Session, path
from qreplica.cli.errors import FollowedJobFailed
from qreplica.units import format_duration, format_rate, format_size

#: Seconds between two looks at a job.
INTERVAL = 0.5
#: Percent between two lines where there is no terminal.
STEP_OF_LINES = 10
_UNDER_WAY = {"running", "stopping", "waiting"}


def follow(here: Session, name: str) -> None:
    """Show the progress of job ``name`` on stderr until it ends, then its outcome on stdout.

    Raises FollowedJobFailed when it ended otherwise than by a commit.
    """
    with _display(as_json=here.as_json) as display:
        job = here.api.get(path("jobs", name))
        display.update(job)
        while job["state"] in _UNDER_WAY:
            time.sleep(INTERVAL)
            job = here.api.get(path("jobs", name))
            display.update(job)
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
    figures = f"{format_size(cycle['total_bytes'])} changed, {format_size(cycle['sent_bytes'])} sent{took}"
    return (
        f"Job “{job['name']}”: recovery point {cycle['generation']} is committed on {job['target_subsystem']} "
        f"({cycle['kind']}, {figures})."
    )


class _Display(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def update(self, job: dict[str, Any]) -> None: ...


def _display(*, as_json: bool) -> _Display:
    if as_json:
        return _Silent()
    return _Bar() if output.console(error=True).is_terminal else _Lines()


class _Silent:
    """Shows nothing: the JSON at the end is all that was asked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, job: dict[str, Any]) -> None:
        """Show nothing."""


class _Lines(_Silent):
    """One line for each step and each tenth of the way."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()
        self._reason = ""

    def update(self, job: dict[str, Any]) -> None:
        """Print a line when there is something new to tell."""
        cycle = job["cycle"]
        if cycle is None or job["state"] not in _UNDER_WAY:
            return
        now = (cycle["generation"], cycle["step"], int(cycle["percent"]) // STEP_OF_LINES)
        if now != self._last:
            self._last = now
            self._say(job, f"{cycle['step']:<8} {cycle['percent']:5.1f} %  {_figures(cycle)}")
        if _reason(job) != self._reason:
            self._reason = _reason(job)
            if self._reason:
                self._say(job, f"waiting: {self._reason}")

    def _say(self, job: dict[str, Any], text: str) -> None:
        output.console(error=True).print(output.printable(f"{job['name']}: {text}"), soft_wrap=True)


class _Bar:
    """A live progress bar."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[step]:<8}", style="cyan", markup=False),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:5.1f} %", markup=False),
            TextColumn("{task.fields[figures]}", markup=False),
            console=output.console(error=True),
            expand=True,
            transient=True,
        )
        self._reason = ""

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("", total=100.0, step="", figures="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, job: dict[str, Any]) -> None:
        """Draw the bar as the job now is."""
        cycle = job["cycle"]
        if cycle is not None:
            self._progress.update(
                self._task,
                description=output.printable(job["name"]),
                completed=cycle["percent"],
                step="waiting" if job["state"] == "waiting" else cycle["step"],
                figures=_figures(cycle),
            )
        if _reason(job) != self._reason:
            self._reason = _reason(job)
            if self._reason:
                self._progress.console.print(output.printable(f"Waiting: {self._reason}"))


def _reason(job: dict[str, Any]) -> str:
    """Return why the job waits for a way to its target, nothing when it does not."""
    return job["error"]["sentence"] if job["state"] == "waiting" and job["error"] else ""


def _figures(cycle: dict[str, Any]) -> str:
    done = f"{format_size(cycle['done_bytes'])} of {format_size(cycle['total_bytes'])}"
    if cycle["eta_seconds"] is None:
        return f"{done}  {format_rate(cycle['rate'])}"
    return f"{done}  {format_rate(cycle['rate'])}  {format_duration(cycle['eta_seconds'])} left"
