"""Takes what must not stand in an argument list, asks for what is missing, and confirms what destroys."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qreplica.cli.errors import ChoiceAmbiguous, NotConfirmed, SecretMissing, SecretUnreadable, ValueMissing

PASSWORD_VARIABLE = "QREPLICA_PASSWORD"  # noqa: S105 - the name of a variable
NEW_PASSWORD_VARIABLE = "QREPLICA_NEW_PASSWORD"  # noqa: S105 - the name of a variable
CHAP_VARIABLE = "QREPLICA_CHAP_SECRET"
MUTUAL_VARIABLE = "QREPLICA_MUTUAL_SECRET"

_FILE = "FILE whose first line is the {}; “-” is standard input. Else {}, else you are asked."

PasswordFile = Annotated[
    str | None, typer.Option("--password-file", help=_FILE.format("password", PASSWORD_VARIABLE), metavar="FILE")
]
NewPasswordFile = Annotated[
    str | None,
    typer.Option("--new-password-file", help=_FILE.format("new password", NEW_PASSWORD_VARIABLE), metavar="FILE"),
]
ChapFile = Annotated[
    str | None, typer.Option("--chap-secret-file", help=_FILE.format("CHAP secret", CHAP_VARIABLE), metavar="FILE")
]
MutualFile = Annotated[
    str | None,
    typer.Option("--mutual-secret-file", help=_FILE.format("mutual CHAP secret", MUTUAL_VARIABLE), metavar="FILE"),
]


def on_terminal() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def secret(what: str, given: str | None, *, option: str, variable: str, twice: bool = False) -> str:
    """Return a secret from the file ``given``, the environment, or whoever is at the terminal, without echo.

    Raises SecretMissing, SecretUnreadable.
    """
    if given is not None:
        return _from_file(what, given)
    if variable in os.environ:
        return os.environ[variable]
    if not on_terminal():
        raise SecretMissing(what=what, option=option, variable=variable)
    answer: str = typer.prompt(what[0].upper() + what[1:], hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def _from_file(what: str, file: str) -> str:
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(what=what, file=file, reason=error) from error
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise SecretUnreadable(what=what, file=file, reason="its first line is empty")
    return lines[0]


def chap_secret(user: str | None, given: str | None) -> str | None:
    """Return the CHAP secret that goes with ``user``, None without one."""
    if user is None:
        return None
    return secret(f"CHAP secret of “{user}”", given, option="--chap-secret-file", variable=CHAP_VARIABLE)


def mutual_secret(user: str | None, given: str | None) -> str | None:
    """Return the mutual CHAP secret that goes with ``user``, None without one."""
    if user is None:
        return None
    return secret(f"mutual CHAP secret of “{user}”", given, option="--mutual-secret-file", variable=MUTUAL_VARIABLE)


def value(given: str | None, question: str, *, option: str) -> str:
    """Return ``given``, or ask for it. Raises ValueMissing."""
    if given is not None:
        return given
    if not on_terminal():
        raise ValueMissing(option=option)
    answer: str = typer.prompt(question, err=True)
    return answer


def choice(options: Sequence[str], question: str, *, option: str, others: Sequence[str] = ()) -> int:
    """Return the index of what was chosen; a single option needs no question.

    ``others`` are sentences that tell why something else is no option. Raises ChoiceAmbiguous.
    """
    if len(options) == 1:
        return 0
    if not options or not on_terminal():
        raise ChoiceAmbiguous(option=option, offered="; ".join(options) or _none(others))
    for number, one in enumerate(options, 1):
        typer.echo(f"  {number}  {one}", err=True)
    while True:
        answer: int = typer.prompt(question, type=int, err=True)
        if 1 <= answer <= len(options):
            return answer - 1
        typer.echo(f"Type a number from 1 to {len(options)}.", err=True)


def _none(others: Sequence[str]) -> str:
    return " ".join(["none that can be used", *(f"({why})" for why in others)])


def go_on(what: str) -> None:
    """Say on a terminal what will happen, and have it confirmed. Raises NotConfirmed."""
    typer.echo(what, err=True)
    if not typer.confirm("Go on?", default=False, err=True):
        raise NotConfirmed


def confirm(name: str, loss: str, *, yes: bool) -> None:
    """Say what will be lost and have ``name`` typed, unless ``yes``. Raises NotConfirmed."""
    if yes:
        return
    if not on_terminal():
        raise NotConfirmed
    typer.echo(loss, err=True)
    if typer.prompt(f"Type “{name}” to go on", default="", show_default=False, err=True) != name:
        raise NotConfirmed
