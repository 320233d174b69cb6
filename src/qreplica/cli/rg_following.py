"""Shows an RG's rebuild or scrub until it ends."""

import time
from typing import Any

from qreplica.cli import output
from qreplica.cli.context import Session, path
from qreplica.cli.errors import FollowedGroupFailed
from qreplica.cli.progress import Display, Progress, display
from qreplica.cli.rg_views import scrub_found

#: Seconds between two looks at an RG.
INTERVAL = 0.5


def follow(here: Session, name: str) -> None:
    """Show what goes on in RG ``name`` on stderr until nothing does, then how it is on stdout.

    Raises FollowedGroupFailed when it is not whole then, or its scrub found what it could not mend.
    """
    with display(as_json=here.as_json) as shown_on:
        group = here.api.get(path("raid-groups", name))
        scrubbed = _scrubs(group)
        while _show(group, shown_on):
            time.sleep(INTERVAL)
            group = here.api.get(path("raid-groups", name))
            scrubbed = scrubbed or _scrubs(group)
    if here.as_json:
        output.print_json(group)
    trouble = _trouble(group, scrubbed=scrubbed)
    if trouble is not None:
        raise FollowedGroupFailed(name=name, reason=trouble)
    if not here.as_json:
        scrub = f"was scrubbed: {scrub_found(group['scrub'])}" if scrubbed else "is online"
        output.print_view(f"RG “{name}” {scrub}.")


def _rebuilds(group: dict[str, Any]) -> bool:
    return group["health"] == "rebuilding" or any(one["replaces"] for one in group["members"])


def _scrubs(group: dict[str, Any]) -> bool:
    return group["scrub"] is not None and group["scrub"]["running"]


def _show(group: dict[str, Any], shown_on: Display) -> bool:
    """Show what goes on; tell whether anything does."""
    if _rebuilds(group):
        shown_on.update(Progress(group["name"], "rebuild", group["rebuilt_percent"] or 0.0))
        return True
    if _scrubs(group):
        shown_on.update(Progress(group["name"], "scrub", group["scrub"]["percent"] or 0.0, scrub_found(group["scrub"])))
        return True
    return False


def _trouble(group: dict[str, Any], *, scrubbed: bool) -> str | None:
    if scrubbed and group["scrub"]["outcome"] != "clean":
        return f"its scrub is {group['scrub']['outcome']} ({scrub_found(group['scrub'])}): see “qreplica event list”."
    if not scrubbed and group["health"] != "online":
        return f"it is {group['health']}: see “qreplica rg show {group['name']}” and “qreplica event list”."
    return None
