"""``qreplica job schedule`` and ``qreplica job bandwidth``: when a job runs by itself, and how fast."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session
from qreplica.cli.errors import WindowUnclear
from qreplica.units import format_rate, parse_minutes

app = typer.Typer(no_args_is_help=True, help="When a job runs by itself, in the subsystem's time zone.")
bandwidth = typer.Typer(no_args_is_help=True, help="How fast a job may send.")

Name = Annotated[str, typer.Argument(help="The job's name.")]

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    at: Annotated[
        list[str] | None, typer.Option(help="A time of the day, such as 02:30; more than once for more.")
    ] = None,
    weekly: Annotated[
        str | None, typer.Option(metavar="DAYS", help="On days of the week, such as mon,wed or mon-fri.")
    ] = None,
    monthly: Annotated[str | None, typer.Option(metavar="DAYS", help="On days of the month, such as 1,15,31.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="INTERVAL", help="Every 30m, 6h, … counted from midnight.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have a job run at times of the day: each day, or on days of the week or month; or every so often."""
    with session(context, as_json=as_json) as here:
        body: dict[str, Any] = {"repeat": "daily", "times": at or []}
        if weekly is not None:
            body |= {"repeat": "weekly", "weekdays": weekdays(weekly)}
        if monthly is not None:
            body |= {"repeat": "monthly", "days": [_number(day) for day in monthly.split(",")]}
        if every is not None:
            body |= {"repeat": "interval", "minutes": parse_minutes(every)}
        answer = here.api.call("PUT", path("jobs", name, "schedule"), body=body)
        here.say(f"Job “{name}” runs {answer['sentence']} ({answer['time_zone']}).", answer)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a job's schedule and the next five times at which it is due."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name, "schedule")), _sheet)


@app.command()
def enable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Switch a job's schedule on again."""
    _switch(context, name, enabled=True, as_json=as_json)


@app.command()
def disable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Switch a job's schedule off; it is kept."""
    _switch(context, name, enabled=False, as_json=as_json)


@app.command()
def delete(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Have a job run only when it is started."""
    with session(context, as_json=as_json) as here:
        here.api.delete(path("jobs", name, "schedule"))
        here.say(f"Job “{name}” has no schedule.")


@bandwidth.command("show")
def show_bandwidth(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show how fast a job may send."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name, "bandwidth")), _bandwidth)


@bandwidth.command("set")
def set_bandwidth(
    context: typer.Context,
    name: Name,
    limit: Annotated[str | None, typer.Option(help="A second, such as 50MiB; without it, as fast as it can.")] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit for a part of the week, such as “mon-fri 08:00-18:00 10MiB” or “sun 00:00-00:00 unlimited”."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Limit what a job sends, also the cycle that runs now."""
    with session(context, as_json=as_json) as here:
        body = {"limit": limit, "windows": [_window(text) for text in window or []]}
        answer = here.api.call("PUT", path("jobs", name, "bandwidth"), body=body)
        here.say(f"Job “{name}” sends {_rate(answer['at_present'])} at present.", answer)


@bandwidth.command("delete")
def delete_bandwidth(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Have a job send as fast as it can."""
    with session(context, as_json=as_json) as here:
        here.api.delete(path("jobs", name, "bandwidth"))
        here.say(f"Job “{name}” sends as fast as it can.")


def _switch(context: typer.Context, name: str, *, enabled: bool, as_json: bool) -> None:
    with session(context, as_json=as_json) as here:
        known = here.api.get(path("jobs", name, "schedule"))
        body = {key: known[key] for key in ("repeat", "times", "weekdays", "days", "minutes")} | {"enabled": enabled}
        answer = here.api.call("PUT", path("jobs", name, "schedule"), body=body)
        here.say(f"The schedule of job “{name}” is {'on' if enabled else 'off'}: {answer['sentence']}.", answer)


def weekdays(text: str) -> list[int]:
    """Return the days that a text such as ``mon-fri,sun`` names, Monday as 0. Raises WindowUnclear."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, *last = part.strip().split("-")
        if len(last) > 1 or not {first, *last} <= set(_WEEKDAYS):
            reason = "days are mon, tue, wed, thu, fri, sat, sun, or from one to another: mon-fri"
            raise WindowUnclear(text=text, reason=reason)
        begin, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last[0] if last else first)
        days |= {(begin + past) % len(_WEEKDAYS) for past in range((end - begin) % len(_WEEKDAYS) + 1)}
    return sorted(days)


def _number(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise WindowUnclear(text=text, reason="days of the month are numbers, such as 1,15,31")
    return int(text)


def _window(text: str) -> dict[str, Any]:
    words = text.split()
    if len(words) != 3 or words[1].count("-") != 1:  # noqa: PLR2004 - days, times, limit
        raise WindowUnclear(text=text, reason="write days, times and limit: “mon-fri 08:00-18:00 10MiB”")
    begin, _, end = words[1].partition("-")
    limit = None if words[2] == "unlimited" else words[2]
    return {"weekdays": weekdays(words[0]), "begin": begin, "end": end, "limit": limit}


def _sheet(answer: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Runs", answer["sentence"]),
            ("Time zone", answer["time_zone"]),
            ("Next", "\n".join(map(output.time, answer["next_runs"])) if answer["enabled"] else "off"),
        ]
    )


def _bandwidth(answer: dict[str, Any]) -> RenderableType:
    windows = [
        f"{','.join(_WEEKDAYS[day] for day in one['weekdays'])} {one['begin']}-{one['end']} {_rate(one['limit'])}"
        for one in answer["windows"]
    ]
    return output.sheet(
        [
            ("At present", _rate(answer["at_present"])),
            ("Otherwise" if windows else "Limit", _rate(answer["limit"])),
            ("Windows", "\n".join(windows) or output.NOTHING),
        ]
    )


def _rate(limit: int | None) -> str:
    return "as fast as it can" if limit is None else f"at most {format_rate(limit)}"
