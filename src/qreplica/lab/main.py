"""``./run lab`` and ``./run demo``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from qreplica.errors import QReplicaError
from qreplica.lab import demo_views, namespaces
from qreplica.lab import lab as labs
from qreplica.lab.administration import ADMIN
from qreplica.lab.console import figures_of, tell, working_on
from qreplica.lab.demo import TREE, Demo
from qreplica.lab.sweep import sweep_dead
from qreplica.lab.topology import DEFAULT_ID, LABS, PORTS, Controller, Lab, Side
from qreplica.units import format_size, parse_size

app = typer.Typer(
    name="./run",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lab_app = typer.Typer(no_args_is_help=True, help="Two whole subsystems on this machine, in network namespaces.")
app.add_typer(lab_app, name="lab")

Id = Annotated[str, typer.Option("--id", help="The lab's id; labs of different ids live side by side.")]
Root = Annotated[Path, typer.Option("--root", help="The directory that holds labs.", hidden=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Subsystem = Annotated[Side, typer.Argument()]
ControllerNumber = Annotated[int, typer.Argument(min=1, max=2, metavar="CONTROLLER")]
PortNumber = Annotated[int, typer.Argument(min=1, max=PORTS, metavar="PORT")]


@lab_app.command()
def up(lab_id: Id = DEFAULT_ID, root: Root = LABS) -> None:
    """Make the lab and leave it up: “source” and “target”, logged in to from the command line."""
    lab = working_on(lab_id, root)
    urls = labs.up(lab, tell)
    labs.let_stay(lab)
    for subsystem, url in urls.items():
        typer.echo(f"{subsystem}: {url}" + (f"  (./run cli --on {subsystem} status)" if lab_id == DEFAULT_ID else ""))
    typer.echo(f"The password of “{ADMIN}” is in {lab.password_file}. Remove the lab with ./run lab down.")


@lab_app.command()
def status(lab_id: Id = DEFAULT_ID, root: Root = LABS, as_json: Json = False) -> None:
    """Show the lab's controllers, their daemons, addresses and cables."""
    states = labs.state(Lab(lab_id, root))
    if as_json:
        typer.echo(labs.as_json(states))
        return
    table = Table("Controller", "Namespace", "Daemon", "Management", "Ports", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in states:
        daemon = "not run" if one.url is None else f"pid {one.pid}" if one.pid else "[red]dead[/red]"
        ports = " ".join(f"{'' if port.cable else '✗'}.{port.address.rpartition('.')[2]}" for port in one.ports)
        table.add_row(f"{one.subsystem} {one.number}", one.namespace, daemon, one.url or "", ports)
    table.caption = "✗: cable pulled"
    Console().print(table)


@lab_app.command()
def down(lab_id: Id = DEFAULT_ID, root: Root = LABS) -> None:
    """Remove the lab and everything of it, whatever state it is in; and what dead labs and test runs left."""
    labs.down(Lab(lab_id, root))
    sweep_dead()
    tell("Nothing of the lab is left")


@lab_app.command()
def pull(
    subsystem: Subsystem,
    controller: ControllerNumber,
    port: PortNumber,
    lab_id: Id = DEFAULT_ID,
    root: Root = LABS,
) -> None:
    """Pull the cable of a controller's port."""
    namespaces.pull_cable(_controller(Lab(lab_id, root), subsystem, controller), port)


@lab_app.command()
def plug(
    subsystem: Subsystem,
    controller: ControllerNumber,
    port: PortNumber,
    lab_id: Id = DEFAULT_ID,
    root: Root = LABS,
) -> None:
    """Put a pulled cable back."""
    namespaces.plug_cable(_controller(Lab(lab_id, root), subsystem, controller), port)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Remove everything at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON in the last line.")] = False,
    tree: Annotated[str, typer.Option(help="How much data the filesystem holds at least.")] = format_size(TREE),
    calm: Annotated[bool, typer.Option("--calm", help="Kill no controllers, and start both cycles by hand.")] = False,
    lab_id: Id = DEFAULT_ID,
    root: Root = LABS,
) -> None:
    """Replicate a virtual disk with a real filesystem, in full and then what changed, and prove both copies equal.

    In the middle of the full cycle, controller 1 of the source is killed, and then that of the target.
    """
    with figures_of(as_json=as_json) as figures:
        figures.update(_demonstrate(working_on(lab_id, root), parse_size(tree), once=once, calm=calm))


@app.command()
def drill(
    names: Annotated[list[str] | None, typer.Argument(help="The drills; none for all.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON in the last line.")] = False,
    lab_id: Id = "drill",
    root: Root = LABS,
) -> None:
    """Break parts of a lab while it replicates, and prove by bytes that nothing was lost and nothing started over."""
    from qreplica.drill import command  # noqa: PLC0415 - start fast

    command.drill(lab_id, root, names or [], every=every, as_json=as_json, own_lab=True)


@app.command(hidden=True)
def sweep() -> None:
    """Remove what labs and test runs left whose owners have ended."""
    for directory in sweep_dead():
        tell(f"Removed what was left of {directory}")


def _demonstrate(lab: Lab, tree: int, *, once: bool, calm: bool) -> dict[str, Any]:
    urls = labs.up(lab, tell, licensed=False)
    try:
        figures = {"ok": True, **Demo(lab, tell, tree=tree, calm=calm).run()}
    except QReplicaError:
        if not once:
            tell(f"The lab stays up to look at: logs are below {lab.directory}, “./run lab down” removes it")
        raise
    finally:
        if once:
            labs.down(lab)
        else:
            labs.let_stay(lab)
    console = Console(stderr=True, highlight=False)
    console.print(demo_views.figures(figures))
    if not once:
        typer.echo(demo_views.what_next(lab, urls), err=True)
    return figures


def _controller(lab: Lab, subsystem: Side, number: int) -> Controller:
    labs.urls(lab)  # or the lab is not up
    return lab.controller(subsystem, number)


def main() -> None:
    """Run the command line; an expected failure is one sentence on stderr and its exit code."""
    try:
        app()
    except QReplicaError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
