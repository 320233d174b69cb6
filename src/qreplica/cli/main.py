"""``qreplica``: the nouns put together."""

from typing import Annotated

import typer

from qreplica.cli import (
    access,
    alert,
    api_token,
    audit,
    certificate,
    configuration,
    controller,
    disk,
    drill,
    event,
    job,
    license,  # noqa: A004 - a noun as the others, which are named like their modules
    lun,
    node,
    port,
    recovery_point,
    rg,
    session,
    snapshot,
    status,
    subsystem,
    test_mount,
    user,
    vd,
)
from qreplica.cli.context import URL_VARIABLE, Target

EXIT_CODES = (
    "Exit codes: 0 done, 1 unexpected failure, 2 the request is not valid, 3 no such object, 4 the present state "
    "forbids it, 5 not enough space, 6 not authorised, 7 the other subsystem or the way to it failed, 8 a storage "
    "engine failed, 9 not possible just now or no connection, 10 what was followed failed or was stopped, "
    "11 no license is in force."
)

app = typer.Typer(
    name="qreplica",
    help="Manages a QReplica storage subsystem.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    context: typer.Context,
    on: Annotated[
        str | None, typer.Option("--on", metavar="NAME", envvar="QREPLICA_ON", help="A login saved with --as.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "--server",
            metavar="URL",
            help=f"The subsystem's address. Else {URL_VARIABLE}, else the latest login.",
        ),
    ] = None,
) -> None:
    context.obj = Target(on, url)


app.command()(access.setup)
app.command()(access.login)
app.command()(access.logout)
app.command()(access.web)
app.command()(status.status)
app.command()(drill.drill)
for noun in (
    disk,
    rg,
    vd,
    snapshot,
    node,
    lun,
    port,
    job,
    event,
    alert,
    controller,
    subsystem,
    license,
    certificate,
    configuration,
    user,
    session,
    audit,
):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
app.add_typer(recovery_point.app, name="recovery-point")
app.add_typer(test_mount.app, name="test-mount")
app.add_typer(api_token.app, name="token")


def main() -> None:
    """Run the command line."""
    app()
