"""``qreplica setup``, ``login`` and ``logout``, and ``web``, which takes a login to a browser."""

from typing import TYPE_CHECKING, Annotated

import typer

from qreplica.cli import asking, credentials, output
from qreplica.cli.context import Json, failures_end, session, target_of
from qreplica.cli.errors import Refused

if TYPE_CHECKING:
    from qreplica.cli.trust import Trust

SETUP_VARIABLE = "QREPLICA_SETUP_SECRET"

Name = Annotated[str | None, typer.Option("--name", help="The user's name.")]
CaFile = Annotated[
    str | None,
    typer.Option("--ca-file", metavar="FILE", help="Certificates (PEM) of who signed the subsystem's."),
]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="SHA256", help="Of the subsystem's certificate, as qreplicad logs it."),
]
SavedAs = Annotated[str | None, typer.Option("--as", help="Save the login under this name, for --on.", metavar="NAME")]


def setup(
    context: typer.Context,
    name: Name = None,
    secret_file: Annotated[
        str | None,
        typer.Option(
            "--setup-secret-file",
            metavar="FILE",
            help=f"STATE_DIR/setup-secret; “-” is standard input. Else {SETUP_VARIABLE}.",
        ),
    ] = None,
    password_file: asking.PasswordFile = None,
    ca_file: CaFile = None,
    fingerprint: Fingerprint = None,
    saved_as: SavedAs = None,
    as_json: Json = False,
) -> None:
    """Make the first user of a subsystem, an admin, and log in.

    Possible once, with the secret that qreplicad wrote to STATE_DIR/setup-secret.
    """
    from qreplica.cli.client import Client  # noqa: PLC0415 - start fast

    with failures_end(as_json=as_json):
        url = target_of(context).address()
        trust = _trust(url, ca_file, fingerprint)
        name = asking.value(name, "User's name", option="--name")
        proof = asking.secret("setup secret", secret_file, option="--setup-secret-file", variable=SETUP_VARIABLE)
        password = asking.secret(
            "password", password_file, option="--password-file", variable=asking.PASSWORD_VARIABLE, twice=True
        )
        body = {"setup_secret": proof, "name": name, "password": password}
        with Client(url, None, trust=trust) as api:
            api.call("POST", "/setup", body=body, needs_login=False)
        _log_in(url, trust, name, password, saved_as, as_json=as_json)


def login(
    context: typer.Context,
    name: Name = None,
    password_file: asking.PasswordFile = None,
    ca_file: CaFile = None,
    fingerprint: Fingerprint = None,
    saved_as: SavedAs = None,
    as_json: Json = False,
) -> None:
    """Log in to a subsystem for 12 hours, or until the login lies unused for half an hour.

    The token is kept in a file that only you can read.
    """
    with failures_end(as_json=as_json):
        url = target_of(context).address()
        trust = _trust(url, ca_file, fingerprint)
        name = asking.value(name, "User's name", option="--name")
        password = asking.secret("password", password_file, option="--password-file", variable=asking.PASSWORD_VARIABLE)
        _log_in(url, trust, name, password, saved_as, as_json=as_json)


def logout(context: typer.Context, as_json: Json = False) -> None:
    """End the login, on the subsystem and here."""
    with session(context, as_json=as_json) as here:
        try:
            here.api.post("/logout")
        except Refused as refused:
            if refused.body.get("status") != 401:  # noqa: PLR2004 - the login has ended already
                raise
        credentials.forget(here.api.url)
        here.say(f"Logged out of {here.api.url}.")


def web(context: typer.Context, as_json: Json = False) -> None:
    """Print an address at which a browser is logged in as you, once and within ten minutes."""
    with session(context, as_json=as_json) as here:
        answer = here.api.post("/account/browser-login")
        url = here.api.answered + answer["path"]
        here.say(url, {"url": url, "seconds": answer["seconds"]})


def _trust(url: str, ca_file: str | None, fingerprint: str | None) -> "Trust":
    from qreplica.cli import trust  # noqa: PLC0415 - start fast

    login = credentials.of_url(url)
    known = trust.Trust(login.pins, login.ca_file, login.coming) if login else None
    return trust.first(url, ca_file=ca_file, fingerprint=fingerprint, known=known)


def _log_in(url: str, trust: "Trust", name: str, password: str, saved_as: str | None, *, as_json: bool) -> None:
    from qreplica.cli.client import Client  # noqa: PLC0415 - start fast

    with Client(url, None, trust=trust) as api:
        answer = api.call("POST", "/login", body={"name": name, "password": password}, needs_login=False)
    with Client(url, answer["token"], trust=trust) as api:
        others = {one["management"]: one["fingerprint"] for one in api.get("/controllers")}
    others = {other: shown for other, shown in others.items() if other not in {None, url}}
    trust = trust.also(url, others)
    known = credentials.of_url(url)
    called = saved_as or (known.name if known else None)
    credentials.save(
        credentials.SavedLogin(
            url,
            answer["user"],
            answer["token"],
            answer["expires_at"],
            called,
            tuple(others),
            dict(trust.pins),
            trust.ca_file,
            tuple(trust.coming),
        )
    )
    del answer["token"]
    if as_json:
        output.print_json(answer | {"url": url, "saved_as": called})
        return
    again = f"; it is “{called}” for --on" if called else ""
    end = f"until {output.time(answer['expires_at'])}, or until it is not used for {answer['idle_minutes']} minutes"
    output.print_view(f"Logged in to {url} as {name} {end}{again}.")
