"""Runs drills one after the other in one lab, and shows what came of them."""

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from qreplica.drill import faults
from qreplica.drill.drills import chosen
from qreplica.drill.play import Result, play
from qreplica.drill.stage import FILL, Stage
from qreplica.errors import QReplicaError
from qreplica.lab import lab as labs
from qreplica.lab.topology import Lab, Side
from qreplica.units import MIB, format_size

#: Room for the state of a source that is drilled.
_STATE_SIZE = 64 * MIB


def in_own_lab(lab: Lab, names: Sequence[str], tell: Callable[[str], None], *, fill: int = FILL) -> list[Result]:
    """Bring a lab up, play the drills of these names (none: all), and take it down; ``fill`` bytes change in each.

    One that cannot be played to its end is the last: what state the lab is in then is not known. Raises NoSuchDrill.
    """
    wanted = chosen(names, own_lab=True)

    def prepare() -> None:
        faults.small_state_disk(lab.controller(Side.SOURCE).state_dir, _STATE_SIZE)

    labs.up(lab, tell, prepare)
    try:
        stage = Stage(lab, tell, fill)
        stage.set_up()
        return _play_all(stage, wanted)
    finally:
        labs.down(lab)


def in_lab(lab: Lab, names: Sequence[str], tell: Callable[[str], None], *, fill: int = FILL) -> list[Result]:
    """Play drills in a lab that is up, on disks of their own, which are removed again; other jobs there go on.

    If bytes are wrong, or one cannot be played to its end, they stay to be looked at, until the next drill. Raises
    NoSuchDrill, NeedsOwnLab, LabMissing.
    """
    wanted = chosen(names, own_lab=False)
    labs.urls(lab)  # or it is not up
    stage = Stage(lab, tell, fill)
    stage.restore()
    stage.set_up()
    results = _play_all(stage, wanted)
    if all(one.ok for one in results):
        stage.clear_up()
    return results


def _play_all(stage: Stage, names: Sequence[str]) -> list[Result]:
    results: list[Result] = []
    for name in names:
        try:
            result = play(stage, name)
        except QReplicaError as error:
            result = Result.stuck(name, error.sentence)
        results.append(result)
        stage.tell(_sentence(result))
        if not result.played:
            break
    return results


def _sentence(result: Result) -> str:
    again = "" if result.resume_seconds is None else f", on its way again after {result.resume_seconds:g} s"
    taken = "" if result.first_write_seconds is None else f", a host wrote after {result.first_write_seconds:g} s"
    resent = "" if result.resent_bytes is None else f", {format_size(result.resent_bytes)} sent twice"
    return f"{result.name}: {'every byte is right' if result.ok else '; '.join(result.wrong)}{again}{resent}{taken}"


def as_json(results: Sequence[Result]) -> dict[str, object]:
    """Return the results as scripts read them."""
    return {"drills": [one.as_json() for one in results], "ok": all(one.ok for one in results)}


def table(results: Sequence[Result]) -> Table:
    """Return the results as people read them."""
    made = Table("Drill", "Bytes", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Resumed after", "Sent twice", "Host waited", "Took"):
        made.add_column(heading, justify="right")
    for one in results:
        made.add_row(
            one.name,
            "[green]right[/green]" if one.ok else "[red]WRONG[/red]",
            "-" if one.resume_seconds is None else f"{one.resume_seconds:.1f} s",
            "-" if one.resent_bytes is None else format_size(one.resent_bytes),
            f"{one.host_pause_seconds:.1f} s",
            f"{one.seconds:.0f} s",
        )
    return made
