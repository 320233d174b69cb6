"""How RAID groups look."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from qreplica.cli import output
from qreplica.units import format_size

_FIGURES = ("Disks", "Usable", "VDs", "Snapshots", "Free")
_ERRORS = ("read", "write", "flush", "corruption", "generation")


def table(groups: list[dict[str, Any]]) -> RenderableType:
    """Return the RAID groups as a table."""
    return output.rows(
        output.table("RG", "Level", "Disks", "Health", "Usable", "VDs", "Snapshots", "Free", right=_FIGURES),
        (
            [
                one["name"],
                one["level"],
                str(len(one["disks"])),
                _health(one),
                output.size(one["usable"]),
                output.size(one["vd_space"]),
                output.size(one["snapshot_space"]),
                output.size(one["free"]),
            ]
            for one in groups
        ),
        empty="There are no RAID groups: make one with “qreplica rg create”.",
    )


def sheet(group: dict[str, Any]) -> RenderableType:
    """Return an RG, its disks and its last scrub."""
    facts = output.sheet(
        [
            ("RG", group["name"]),
            ("Level", group["level"]),
            ("Health", _health(group)),
            ("Missing disks", str(group["missing_disks"])),
            ("Usable", output.size(group["usable"])),
            ("Reserve", output.size(group["reserve"])),
            ("Promised to VDs", output.size(group["vd_space"])),
            ("Promised to snapshots", output.size(group["snapshot_space"])),
            ("Free", output.size(group["free"])),
            ("Held by data", f"{output.size(group['allocated'])} of {output.size(group['limit'])}"),
            ("Last scrub", _scrub(group["scrub"])),
            ("Next scrub", output.time(group["next_scrub_at"])),
            ("Maintained by", _controller(group["maintained_by"])),
            ("Made", output.time(group["created_at"])),
            *(("Warning", Text(one, style="yellow")) for one in group["warnings"]),
        ]
    )
    return Group(facts, "", _disks(group["members"]))


def scrub_found(scrub: dict[str, Any]) -> str:
    """Return what a scrub found, in words."""
    return (
        f"{format_size(scrub['checked'])} read, {scrub['corrected']} errors mended, "
        f"{scrub['uncorrectable']} that could not be"
    )


def scrubs(runs: list[dict[str, Any]]) -> RenderableType:
    """Return an RG's scrubs as a table."""
    return output.rows(
        output.table("Started", "Ended", "Outcome", "Read", "Mended", "Left", right=("Read", "Mended", "Left")),
        (
            [
                output.time(one["started_at"]),
                output.time(one["finished_at"]),
                _outcome(one),
                output.size(one["checked"]),
                str(one["corrected"]),
                str(one["uncorrectable"]),
            ]
            for one in runs
        ),
        empty="It was never scrubbed: start one with “qreplica rg scrub start”.",
    )


def _disks(members: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Disk", "Size", "State", "Replaces", "Errors", right=["Size"]),
        (
            [
                one["name"],
                output.size(one["size"]),
                output.state(one["state"]),
                output.text(one["replaces"]),
                _errors(one["errors"]),
            ]
            for one in members
        ),
        empty="It has no disks.",
    )


def _errors(errors: dict[str, int] | None) -> str:
    if errors is None:
        return output.NOTHING
    return ", ".join(f"{name} {errors[name]}" for name in _ERRORS if errors[name]) or "none"


def _health(group: dict[str, Any]) -> Text:
    shown = output.state(group["health"])
    if group["rebuilt_percent"] is not None:
        shown.append(f" {group['rebuilt_percent']:.1f} %")
    return shown


def _outcome(scrub: dict[str, Any]) -> Text:
    if scrub["running"]:
        return Text("running" if scrub["percent"] is None else f"running {scrub['percent']:.1f} %", style="cyan")
    return output.state(scrub["outcome"])


def _scrub(scrub: dict[str, Any] | None) -> str:
    if scrub is None:
        return "never"
    return f"{_outcome(scrub)}, {output.time(scrub['finished_at'] or scrub['started_at'])} ({scrub_found(scrub)})"


def _controller(number: int | None) -> str:
    return output.NOTHING if number is None else f"controller {number}"
