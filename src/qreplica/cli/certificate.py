"""``qreplica certificate``: the TLS certificate of both controllers."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, credentials, output
from qreplica.cli.context import Json, Session, Yes, session
from qreplica.cli.errors import PemUnreadable

app = typer.Typer(no_args_is_help=True, help="The TLS certificate by which the subsystem is known.")


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the certificate that was uploaded, and what each controller shows now."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/certificate"), _sheet)


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="PEM: the certificate, then that of who signed it, and so on.", show_default=False)
    ],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Its key (PEM, not encrypted). Else in the same file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give both controllers a certificate, which each shows when it was restarted."""
    with session(context, as_json=as_json) as here:
        body = {"certificate": _text(file), "key": _text(key or file)}
        _know(here, here.api.call("PUT", "/certificate", body=body))


@app.command()
def delete(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Have each controller show a certificate of its own making again, when it was restarted."""
    with session(context, as_json=as_json) as here:
        found = here.api.get("/certificate")["uploaded"]
        name = "certificate" if found is None else found["subject"].strip("“”")
        asking.confirm(
            name, "The certificate and its key are lost; whoever has checked its issuer must log in anew.", yes=yes
        )
        _know(here, here.api.call("DELETE", "/certificate"))


def _know(here: Session, answer: dict[str, Any]) -> None:
    """Have this login know what will be shown, and tell what to do."""
    coming = sorted({one["next_fingerprint"] for one in answer["controllers"] if one["next_fingerprint"]})
    if here.api.is_pinned:
        credentials.know(here.api.url, coming=coming)
    elif coming:
        here.warn(
            "This login checks who signed the certificate. If that cannot be checked after the restart, log in again "
            f"with --ca-file, or with --fingerprint {coming[0]}."
        )
    here.say(answer["message"], answer)


def _text(file: Path) -> str:
    """Return what a file holds. Raises PemUnreadable."""
    try:
        return file.read_text("ascii")
    except OSError as error:
        raise PemUnreadable(file=file, reason=error.strerror) from error
    except UnicodeDecodeError as error:
        raise PemUnreadable(file=file, reason="it holds other characters than ASCII") from error


def _sheet(answer: dict[str, Any]) -> RenderableType:
    facts: list[tuple[str, str]] = [("", answer["message"])]
    if answer["uploaded"] is not None:
        facts += [("Uploaded", output.time(answer["uploaded_at"])), *_facts(answer["uploaded"])]
    for one in answer["controllers"]:
        shown = one["certificate"]
        state = "no TLS" if shown is None else _SOURCES[one["source"]]
        facts.append((f"Controller {one['number']}", f"{state}, restart needed" if one["restart_needed"] else state))
        if shown is not None and shown != answer["uploaded"]:
            facts += _facts(shown)
    return output.sheet(facts)


_SOURCES = {"own": "its own certificate", "file": "that of its configuration file", "uploaded": "the uploaded one"}


def _facts(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("  Subject", one["subject"]),
        ("  Names", ", ".join(one["names"]) or "none: clients that check the name refuse it"),
        ("  Issuer", one["issuer"]),
        ("  Valid", f"{output.time(one['begins_at'])} to {output.time(one['ends_at'])}"),
        ("  Key", one["key"]),
        ("  SHA-256", one["fingerprint"]),
    ]
