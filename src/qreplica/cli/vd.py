"""``qreplica vd``: virtual disks."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output, vd_retention
from qreplica.cli.context import Json, Yes, path, session
from qreplica.units import format_minutes, parse_minutes

app = typer.Typer(no_args_is_help=True, help="Virtual disks (VDs).")
app.add_typer(vd_retention.app, name="retention")

Name = Annotated[str, typer.Argument(help="The VD's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the virtual disks."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/virtual-disks"), _table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    rg: Annotated[str, typer.Option(help="The RG that holds it.")],
    size: Annotated[str, typer.Option(help="Such as 10GiB; a multiple of 4 KiB.")],
    kind: Annotated[str, typer.Option("--type", help="RAID: hosts use it. BACKUP: a job replicates to it.")] = "RAID",
    as_json: Json = False,
) -> None:
    """Make a virtual disk. Its whole size is promised to it; a BACKUP VD gets as much snapshot space too."""
    body = {"name": name, "raid_group": rg, "size": size, "type": kind.upper()}
    with session(context, as_json=as_json) as here:
        vd = here.api.post("/virtual-disks", body)
        here.say(f"VD “{name}” of {output.size(vd['size'])} was made in RG “{rg}”.", vd)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a VD, where it is attached, and how much its snapshots use."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("virtual-disks", name)), _sheet)


@app.command()
def extend(
    context: typer.Context,
    name: Name,
    size: Annotated[str, typer.Argument(help="The new size, such as 20GiB; larger than before.")],
    as_json: Json = False,
) -> None:
    """Let a VD grow, attached or not; hosts see it when they look again (rescan), a job's backup VD follows."""
    with session(context, as_json=as_json) as here:
        vd = here.api.post(path("virtual-disks", name, "extend"), {"size": size})
        here.say(f"VD “{name}” has {output.size(vd['size'])} now.", vd)


@app.command()
def rename(
    context: typer.Context,
    name: Name,
    new: Annotated[str, typer.Argument(help="The new name.")],
    as_json: Json = False,
) -> None:
    """Give a VD another name; hosts see no change."""
    with session(context, as_json=as_json) as here:
        vd = here.api.post(path("virtual-disks", name, "rename"), {"name": new})
        here.say(f"VD “{name}” is called “{new}” now.", vd)


@app.command()
def snapshots(
    context: typer.Context,
    name: Name,
    every: Annotated[str, typer.Option(help="How often: 30m, 2h or 1d; “never” for no more.")],
    keep: Annotated[int, typer.Option(help="How many of them are kept, the newest.")] = 8,
    as_json: Json = False,
) -> None:
    """Have snapshots of a VD taken by themselves, and so many of the newest kept."""
    with session(context, as_json=as_json) as here:
        minutes = None if every == "never" else parse_minutes(every)
        body = {"every_minutes": minutes, "keep": keep}
        vd = here.api.call("PUT", path("virtual-disks", name, "automatic-snapshots"), body=body)
        here.say(f"Automatic snapshots of VD “{name}”: {_schedule(vd)}.", vd)


@app.command("set-snapshot-space")
def set_snapshot_space(
    context: typer.Context,
    name: Name,
    size: Annotated[str, typer.Argument(help="What its snapshots may use, such as 20GiB.")],
    as_json: Json = False,
) -> None:
    """Set a VD's snapshot space."""
    with session(context, as_json=as_json) as here:
        vd = here.api.call("PATCH", path("virtual-disks", name), body={"snapshot_space": size})
        here.say(f"The snapshots of VD “{name}” may use {output.size(vd['snapshot_space'])}.", vd)


@app.command()
def promote(
    context: typer.Context,
    name: Name,
    generation: Annotated[
        int | None, typer.Option(help="The recovery point that hosts are to get; the newest if not said.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Let hosts use a backup VD, since its source is gone: its job is superseded. Goes on where a failure left it."""
    with session(context, as_json=as_json) as here:
        at = "" if generation is None else f"?generation={generation}"
        found = here.api.get(path("virtual-disks", name, "promote") + at)
        lost = f"Left behind is {found['sentence']}. Make sure that no host uses the source any more."
        asking.confirm(name, lost, yes=yes)
        body = {"generation": generation, "confirm": name}
        done = here.api.post(path("virtual-disks", name, "promote"), body)
        here.say(
            f"VD “{name}” has the content of generation {done['generation']} and can be used by hosts: attach it with "
            f"“qreplica lun create NODE {name}”.",
            done,
        )


@app.command("write-protect")
def write_protect(
    context: typer.Context,
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="Let hosts write to it again.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Have hosts only read a VD, or write to it again; their sessions are cut off once, and come back."""
    with session(context, as_json=as_json) as here:
        if not off:
            asking.confirm(name, "Hosts can only read it from now on: what they write is refused.", yes=yes)
        vd = here.api.call("PUT", path("virtual-disks", name, "write-protection"), body={"protected": not off})
        here.say(f"Hosts can {'write to' if off else 'only read'} VD “{name}” now.", vd)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a VD with its snapshots. Refused while it is attached to a LUN or replicated."""
    with session(context, as_json=as_json) as here:
        vd = here.api.get(path("virtual-disks", name))
        loss = f"All {output.size(vd['size'])} of VD “{name}” and its {vd['snapshots']} snapshots will be lost."
        asking.confirm(name, loss, yes=yes)
        here.api.delete(path("virtual-disks", name))
        here.say(f"VD “{name}” was deleted.")


def _table(vds: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table(
            "VD", "Type", "Size", "RG", "Owner", "Snapshots", "Snapshot space", "Used", "LUNs", right=_FIGURES
        ),
        (
            [
                one["name"],
                one["type"],
                output.size(one["size"]),
                one["raid_group"],
                _owner(one),
                str(one["snapshots"]),
                output.size(one["snapshot_space"]),
                output.size(one["snapshot_used"]),
                _luns(one),
            ]
            for one in vds
        ),
        empty="There are no virtual disks: make one with “qreplica vd create”.",
    )


_FIGURES = ("Size", "Snapshots", "Snapshot space", "Used")


def _owner(vd: dict[str, Any]) -> str:
    return output.NOTHING if vd["owner"] is None else str(vd["owner"])


def _luns(vd: dict[str, Any]) -> str:
    return ", ".join(f"{lun['node']}:{lun['number']}" for lun in vd["luns"]) or output.NOTHING


def _schedule(vd: dict[str, Any]) -> str:
    if vd["snapshot_minutes"] is None:
        return "none"
    return f"every {format_minutes(vd['snapshot_minutes'])}, the newest {vd['snapshots_kept']} kept"


def _sheet(vd: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("VD", vd["name"]),
            ("Type", vd["type"]),
            ("Size", output.size(vd["size"])),
            ("RG", vd["raid_group"]),
            ("Owner", _owner(vd)),
            ("LUNs", _luns(vd)),
            ("Serial number", vd["serial"]),
            ("Snapshots", str(vd["snapshots"])),
            ("Snapshot space", output.size(vd["snapshot_space"])),
            ("Snapshots use", output.size(vd["snapshot_used"])),
            ("Automatic snapshots", _schedule(vd)),
            ("Made", output.time(vd["created_at"])),
        ]
    )
