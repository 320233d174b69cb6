"""``qreplica job verify`` and ``qreplica job repair``: whether a copy is what was replicated."""

import time
from typing import Annotated, Any

import typer

from qreplica.cli import output
from qreplica.cli.context import Json, Session, path, session
from qreplica.cli.errors import CopyNotVerified
from qreplica.cli.progress import Progress, display
from qreplica.units import format_duration, format_rate, format_size

#: Seconds between two looks.
INTERVAL = 0.5
_NAMED = 5

Name = Annotated[str, typer.Argument(help="The job's name.")]


def verify(
    context: typer.Context,
    name: Name,
    limit: Annotated[str | None, typer.Option(help="What each side may read a second, such as 100MiB.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="DAYS|never", help="Only set how often one begins by itself.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Only tell how it is.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop one that runs.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return as soon as it has begun; it goes on.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the newest recovery point with what was replicated, by digests; replication goes on."""
    place = path("jobs", name, "verification")
    with session(context, as_json=as_json) as here:
        if every is not None:
            body = {"days": None if every == "never" else every}
            here.show(here.api.call("PUT", path("jobs", name, "verification", "schedule"), body=body), _told)
        elif stop:
            here.api.delete(place)
            here.show(here.api.get(place), _told)
        elif show:
            here.show(here.api.get(place), _told)
        else:
            found = here.api.post(place, {"limit": limit})
            if no_wait:
                here.say(f"The copy of “{name}” is being verified: see “qreplica job verify {name} --show”.", found)
            else:
                _follow(here, name, found)


def repair(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Have the next cycle, which begins now, send what a verification found to differ too."""
    with session(context, as_json=as_json) as here:
        found = here.api.post(path("jobs", name, "verification", "repair"))
        size = format_size(found["differing_bytes"])
        here.say(f"{size} that differ are sent again: verify the copy once the cycle is committed.", found)


def _follow(here: Session, name: str, found: dict[str, Any]) -> None:
    """Show it on stderr until it ends, then its result. Raises CopyNotVerified unless the copy is right."""
    told = ""
    with display(as_json=here.as_json) as shown_on:
        while found["state"] == "running":
            at = Progress(name, "verify", found["percent"], _figures(found))
            shown_on.update(at, waiting=found["error"] is not None)
            if found["error"] and found["error"] != told:
                told = found["error"]
                shown_on.remark(name, f"waiting: {told}")
            time.sleep(INTERVAL)
            found = here.api.get(path("jobs", name, "verification"))
    if here.as_json:
        output.print_json(found)
    if found["state"] != "passed":
        raise CopyNotVerified(name=name, reason=_told(found))
    if not here.as_json:
        output.print_view(_told(found))


def _figures(found: dict[str, Any]) -> str:
    done = f"{format_size(found['position'])} of {format_size(found['size'])}" if found["size"] else ""
    if found["eta_seconds"] is None:
        return done
    return f"{done}  {format_rate(found['rate'])}  {format_duration(found['eta_seconds'])} left"


def _told(found: dict[str, Any]) -> str:
    first, last = found["first_generation"], found["generation"]
    which = f"generation {last}" if first == last else f"generations {first} to {last}"
    often = f" One begins every {found['every_days']} days." if found["every_days"] else ""
    told = {
        "never": "The copy was never verified.",
        "running": f"The copy is being verified: {found['percent']:.0f} %, {_figures(found)}.",
        "stopped": f"The last verification was stopped after {format_size(found['position'])}.",
        "passed": f"The copy is right: {format_size(found['size'])} of {which} are the same on both sides.",
        "differs": f"The copy of {which} differs in {format_size(found['differing_bytes'])}: {_ranges(found)}.",
        "repaired": f"{format_size(found['differing_bytes'])} that differed were sent again: verify it once more.",
        "failed": f"The last verification failed: {found['error']}",
    }[found["state"]]
    repaired = " The next cycle sends them again." if found["repair"] else ""
    return told + repaired + often


def _ranges(found: dict[str, Any]) -> str:
    named = ", ".join(f"{format_size(one['length'])} at byte {one['offset']}" for one in found["differing"][:_NAMED])
    more = found["differing_ranges"] - _NAMED
    return named if more <= 0 else f"{named} and {more} more ranges"
