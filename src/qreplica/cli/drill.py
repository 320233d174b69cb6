"""``qreplica drill``: prove on a lab that is up that replication carries on, whatever dies."""

from pathlib import Path
from typing import Annotated

import typer


def drill(
    names: Annotated[list[str] | None, typer.Argument(help="The drills; none for all.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can be played in a lab that is up.")] = False,
    lab_id: Annotated[str, typer.Option("--lab", help="The lab's id.")] = "lab",
    root: Annotated[Path | None, typer.Option("--root", help="The directory that holds labs.", hidden=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON in the last line.")] = False,
) -> None:
    """Break parts of a lab that is up while it replicates, on a disk of the drill's own; judge by bytes."""
    from qreplica.drill import command  # noqa: PLC0415 - start fast

    command.drill(lab_id, root, names or [], every=every, as_json=as_json, own_lab=False)
