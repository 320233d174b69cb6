"""What the demo tells people at its end."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table

from qreplica.lab.administration import ADMIN, CommandLine
from qreplica.lab.demo import BACKUP, JOB, VD
from qreplica.lab.topology import Lab, Side
from qreplica.units import format_duration, format_rate, format_size


def figures(result: dict[str, Any]) -> RenderableType:
    """Return the figures of both cycles as a table."""
    table = Table("Cycle", title="Both copies are equal, byte for byte")
    for heading in ("Sent", "Time", "Rate"):
        table.add_column(heading, justify="right")
    for kind in ("full", "incremental"):
        cycle = result[kind]
        rate = format_rate(cycle["mb_per_second"] * 1e6)
        table.add_row(kind, format_size(cycle["bytes"]), format_duration(cycle["seconds"]), rate)
    notes = [f"The workers used {format_size(result['worker_peak_memory'])} of memory at most."]
    if met := result["full"]["interruptions"]:
        killed = ", ".join(f"{one['killed']} ({format_duration(one['resume_seconds'])})" for one in met)
        notes.append(f"Killed in the middle of the full cycle, and how long until data was on its way again: {killed}.")
    table.caption = "\n".join(notes)
    return table


def what_next(lab: Lab, urls: dict[Side, str]) -> str:
    """Return what there is to try on the two subsystems, as lines of text; a browser is logged in by it once.

    Raises CommandFailed.
    """
    pages = {side: CommandLine(lab, side)("web")["url"] for side in Side}
    lines = [
        "",
        "Both subsystems stay up. Try:",
        "",
        "  ./run cli --on source status",
        f"  ./run cli --on source job show {JOB}",
        f"  ./run cli --on source job start {JOB} --follow",
        f"  ./run cli --on source snapshot create {VD} before-lunch",
        f"  ./run cli --on target snapshot list --vd {BACKUP}",
        "  ./run cli --on target event list",
        "  ./run lab pull target 1 1      # the cable of its port 1; “plug” puts it back",
        "  ./run cli --on source web      # another address for the web pages",
        "  ./run lab status",
        "  ./run lab down                 # removes all of it",
        *(f"  Web pages of {side}, for ten minutes and one log-in: {pages[side]}" for side in Side),
        *(f"  REST of {side}: {urls[side]}/api/v1/openapi.json" for side in Side),
        f"  Administrator “{ADMIN}”, password in {lab.password_file}",
    ]
    return "\n".join(lines)
