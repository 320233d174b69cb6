"""What every command shares: which subsystem is meant, how to answer, and how failures end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.console import RenderableType

from qreplica.cli import credentials, output
from qreplica.cli.errors import NameImpossible, NoSubsystem, Refused
from qreplica.errors import QReplicaError

if TYPE_CHECKING:
    from qreplica.cli.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print the API's JSON; errors as problem JSON on stderr.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: what will be lost is known.")]

URL_VARIABLE = "QREPLICA_URL"


@dataclass(frozen=True, slots=True)
class Target:
    """The subsystem that the options before the noun name, if they do."""

    on: str | None
    url: str | None

    def address(self) -> str:
        """Return the URL meant: ``--on``, ``--url``, the environment, or the latest login. Raises NoSubsystem."""
        from qreplica.cli.client import normal  # noqa: PLC0415 - start fast

        if self.on:
            return credentials.named(self.on).url
        url = self.url or os.environ.get(URL_VARIABLE)
        if url:
            return normal(url)
        logins = credentials.load()
        if not logins:
            raise NoSubsystem
        return logins[-1].url


@dataclass(frozen=True, slots=True)
class Session:
    """A command at work: the subsystem's API, and whether to answer in JSON."""

    api: "Client"
    as_json: bool

    def show(self, answer: Any, view: Callable[[Any], RenderableType]) -> None:  # noqa: ANN401 - the API's JSON
        """Print ``answer``: as it is with ``--json``, else as ``view`` draws it."""
        if self.as_json:
            output.print_json(answer)
        else:
            output.print_view(view(answer))

    def say(self, sentence: str, answer: Any = None) -> None:  # noqa: ANN401 - the API's JSON
        """Tell that it is done: ``sentence``, or ``answer`` with ``--json`` (null when the API gave none)."""
        self.show(answer, lambda _: sentence)

    def warn(self, sentence: str) -> None:
        """Tell what must be known, on stderr; with ``--json`` the answer holds it."""
        if not self.as_json:
            output.print_warning(sentence)


@contextmanager
def session(context: typer.Context, *, as_json: bool) -> Iterator[Session]:
    """Give the session of a command; any expected failure in the block ends the command with its exit code."""
    with failures_end(as_json=as_json):
        from qreplica.cli.client import Client  # noqa: PLC0415 - start fast

        with Client.to(target_of(context).address()) as api:
            yield Session(api, as_json)


@contextmanager
def failures_end(*, as_json: bool) -> Iterator[None]:
    """Turn an expected failure in the block into a sentence (or a problem body) on stderr and an exit code."""
    try:
        yield
    except Refused as refused:
        output.print_problem(refused.body, as_json=as_json)
        raise typer.Exit(refused.exit_code) from refused
    except QReplicaError as error:
        output.print_problem(error.problem() | {"exit_code": error.exit_code}, as_json=as_json)
        raise typer.Exit(error.exit_code) from error


def path(*parts: object) -> str:
    """Return an API path with each part quoted. Raises NameImpossible for a name that would lead elsewhere."""
    for part in map(str, parts):
        if part in {"", ".", ".."} or "/" in part:
            raise NameImpossible(name=part)
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def target_of(context: typer.Context) -> Target:
    """Return what the options before the noun say."""
    found = context.find_object(Target)
    return found if found is not None else Target(None, None)
