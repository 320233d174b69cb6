"""What the commands that work on a lab share: how they tell, what carries their mark, how they end."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from qreplica.errors import QReplicaError
from qreplica.lab.processes import MARK
from qreplica.lab.topology import Lab


def tell(sentence: str) -> None:
    """Show progress to people."""
    Console(stderr=True, highlight=False).print(f"[dim]·[/dim] {sentence}", soft_wrap=True)


def working_on(lab_id: str, root: Path) -> Lab:
    """Return the lab that this process works on: everything that it starts from now on carries the mark."""
    lab = Lab(lab_id, root)
    os.environ[MARK] = str(lab.directory)
    return lab


@contextlib.contextmanager
def figures_of(*, as_json: bool, **empty: object) -> Iterator[dict[str, Any]]:
    """Give what the command fills with its figures, printed at its end with ``as_json``, however that comes.

    An expected failure is one of them, and ends the command with a sentence and its exit code.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is open is cleaned up
    figures: dict[str, Any] = {**empty, "ok": False}
    try:
        yield figures
    except QReplicaError as error:
        figures |= {"error": error.kind, "sentence": error.sentence}
        typer.echo(error.sentence, err=True)
        raise typer.Exit(error.exit_code) from error
    finally:
        if as_json:
            typer.echo(json.dumps(figures))
