"""How figures and times of the API are written on pages."""

from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from qreplica.units import format_duration, format_minutes, format_rate, format_size

NOTHING: Final = "-"
#: The colour of a state: Quasar's names.
_COLOURS: Final = {
    **dict.fromkeys(("online", "idle", "committed", "active", "clean", "in-force", "passed"), "positive"),
    **dict.fromkeys(("running", "rebuilding", "restarting", "queued"), "primary"),
    **dict.fromkeys(
        ("waiting", "stopping", "stopped", "paused", "degraded", "taken-over", "abandoned", "interrupted", "warning"),
        "warning",
    ),
    **dict.fromkeys(("failed", "superseded", "error", "closed", "missing", "damaged", "differs"), "negative"),
}


def colour(state: str) -> str:
    """Return the colour in which a state is shown."""
    return _COLOURS.get(state, "grey-7")


def size(value: float | None) -> str:
    """Return a size in binary units."""
    return NOTHING if value is None else format_size(value)


def rate(value: float | None) -> str:
    """Return a transfer rate."""
    return NOTHING if value is None else format_rate(value)


def duration(seconds: float | None) -> str:
    """Return a duration."""
    return NOTHING if seconds is None else format_duration(seconds)


def text(value: object) -> str:
    """Return anything else."""
    return NOTHING if value is None or value == "" else str(value)


def time(value: str | None, zone: tzinfo) -> str:
    """Return a time of the API in the subsystem's ``zone``."""
    return NOTHING if value is None else moment(value).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def moment(value: str) -> datetime:
    """Return a time of the API."""
    return datetime.fromisoformat(value)


def age(value: str | None) -> str:
    """Return how long ago a time of the API was."""
    return NOTHING if value is None else format_duration((datetime.now(UTC) - moment(value)).total_seconds())


def lag(job: dict[str, Any]) -> str:
    """Return how old a job's copy is, and its goal where there is one."""
    age = "no copy yet" if job["lag_seconds"] is None else format_duration(job["lag_seconds"])
    if job["rpo_minutes"] is None:
        return age
    return f"{age} (goal {format_minutes(job['rpo_minutes'])}{'' if job['rpo_met'] else ' missed'})"


def state(job: dict[str, Any]) -> str:
    """Return a job's state; one that is paused begins nothing, whatever it was."""
    return "paused" if job["paused"] and job["state"] != "stopping" else str(job["state"])


def progress(job: dict[str, Any]) -> str:
    """Return how far a job's running cycle is, how fast, and how long it still takes; or what it waits for."""
    if job["queued"] is not None:
        return str(job["queued"]["sentence"])
    cycle = job["cycle"]
    if cycle is None or cycle["finished_at"] is not None:
        return ""
    left = "" if cycle["eta_seconds"] is None else f", {format_duration(cycle['eta_seconds'])} left"
    return f"{cycle['percent']:.0f} % at {format_rate(cycle['rate'])}{left}"
