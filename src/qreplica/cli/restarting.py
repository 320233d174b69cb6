"""Follows controllers that restart."""

import time
from typing import Annotated, Any

import typer

from qreplica.cli import output
from qreplica.cli.context import Session
from qreplica.cli.errors import FollowedRestartUnfinished, SubsystemUnreachable

Follow = Annotated[bool, typer.Option("--follow", help="Wait until it is done.")]

INTERVAL = 0.5
#: The longest that restarts may take, in seconds.
PATIENCE = 600.0


def follow(here: Session, controllers: list[dict[str, Any]]) -> None:
    """Tell on stderr which controllers are back, until all are, then on stdout that it is done.

    Raises FollowedRestartUnfinished after ten minutes.
    """
    deadline = time.monotonic() + PATIENCE
    waiting = _restarting(controllers)
    done = " and ".join(f"controller {number}" for number in sorted(waiting))
    while waiting:
        if time.monotonic() > deadline:
            raise FollowedRestartUnfinished(controllers=", ".join(map(str, sorted(waiting))))
        time.sleep(INTERVAL)
        try:
            controllers = here.api.get("/controllers")
        except SubsystemUnreachable:
            # It is the only one, and on its way.
            continue
        left = _restarting(controllers)
        if not here.as_json:
            for number in sorted(waiting - left):
                output.console(error=True).print(f"Controller {number} is back.")
        waiting = left
    here.say(f"{done[:1].upper()}{done[1:]} restarted.", controllers)


def _restarting(controllers: list[dict[str, Any]]) -> set[int]:
    return {one["number"] for one in controllers if one["restarting"]}
