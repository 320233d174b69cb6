"""``qreplica vd retention``: how long the recovery points of a backup VD are kept."""

from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="How long the recovery points of a backup VD are kept.")

Name = Annotated[str, typer.Argument(help="The backup VD's name.")]
Count = int | None

_RULES: Final = ("last", "hourly", "daily", "weekly", "monthly")
_DEFAULT: Final = {"last": 8, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0}


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the retention, and what it lets go."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("virtual-disks", name, "retention")), _sheet)


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    last: Annotated[Count, typer.Option(help="How many of the newest are kept in any case, 1 to 1000.")] = None,
    hourly: Annotated[Count, typer.Option(help="Of so many hours the newest one, 0 to 1000.")] = None,
    daily: Annotated[Count, typer.Option(help="Of so many days the newest one.")] = None,
    weekly: Annotated[Count, typer.Option(help="Of so many weeks the newest one.")] = None,
    monthly: Annotated[Count, typer.Option(help="Of so many months the newest one.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only tell what it would let go.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Set how long recovery points are kept; what is not given stays as it is. A point that any rule keeps stays."""
    with session(context, as_json=as_json) as here:
        present = here.api.get(path("virtual-disks", name, "retention"))
        given = zip(_RULES, (last, hourly, daily, weekly, monthly), strict=True)
        wanted = {rule: present[rule] if count is None else count for rule, count in given}
        tried = here.api.get(path("virtual-disks", name, "retention", "preview"), wanted)
        if preview:
            here.show(tried, _sheet)
            return
        _confirm(name, tried, yes=yes)
        here.say(*_done(name, here.api.call("PUT", path("virtual-disks", name, "retention"), body=wanted)))


@app.command()
def unset(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Have the newest 8 recovery points kept, as of every backup VD for which nothing else was set."""
    with session(context, as_json=as_json) as here:
        _confirm(name, here.api.get(path("virtual-disks", name, "retention", "preview"), _DEFAULT), yes=yes)
        here.api.delete(path("virtual-disks", name, "retention"))
        here.say(*_done(name, here.api.get(path("virtual-disks", name, "retention"))))


def _confirm(name: str, tried: dict[str, Any], *, yes: bool) -> None:
    """Ask, where points would go."""
    gone = len(tried["lets_go"])
    if gone:
        count = gone + tried["keeps"]
        loss = f"{gone} of {count} recovery points of VD “{name}” will be lost when its next cycle begins."
        asking.confirm(name, loss, yes=yes)


def _done(name: str, retention: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"Recovery points of VD “{name}” that are kept: {_rules(retention)}.", retention


def _rules(retention: dict[str, Any]) -> str:
    others = [f"{retention[rule]} {rule}" for rule in _RULES[1:] if retention[rule]]
    return ", ".join([f"the last {retention['last']}", *others])


def _sheet(retention: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Kept", _rules(retention)),
            ("Default", "yes" if retention["is_default"] else "no"),
            ("Recovery points kept", str(retention["keeps"])),
            ("Go when the next cycle begins", ", ".join(retention["lets_go"]) or "none"),
        ]
    )
