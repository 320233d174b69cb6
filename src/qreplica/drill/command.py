"""``./run drill`` and ``qreplica drill``: plays drills and shows what came of them."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from qreplica.drill import run
from qreplica.lab.console import figures_of, tell, working_on
from qreplica.lab.topology import LABS

#: What was followed failed: the command line's exit code for it.
_WRONG = 10


def drill(lab_id: str, root: Path | None, names: Sequence[str], *, every: bool, as_json: bool, own_lab: bool) -> None:
    """Play the drills in a lab made for them (``own_lab``), or in one that is up. Raises typer.Exit."""
    with figures_of(as_json=as_json, drills=[]) as figures:
        if every and names:
            raise typer.BadParameter("give names or --all")
        play = run.in_own_lab if own_lab else run.in_lab
        results = play(working_on(lab_id, root or LABS), names, tell)
        figures.update(run.as_json(results))
        Console(stderr=True, highlight=False).print(run.table(results))
    if not figures["ok"]:
        raise typer.Exit(_WRONG)
