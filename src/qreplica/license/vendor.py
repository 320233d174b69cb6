"""``qreplica-license``: the vendor's side of license keys. It needs no subsystem, only the vendor's key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, failures_end
from qreplica.errors import QReplicaError
from qreplica.license import document, keys
from qreplica.license.document import License, written
from qreplica.license.issuing import issue as issued
from qreplica.license.reading import content_of
from qreplica.license.serial import check_serial
from qreplica.state.models import now

VARIABLE = "QREPLICA_LICENSE_PASSPHRASE"

app = typer.Typer(
    name="qreplica-license",
    help="Makes the license keys of QReplica subsystems: the vendor's side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PassphraseFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help=f"FILE whose first line is the passphrase; “-” is standard input. Else {VARIABLE}."
    ),
]
Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="A day or time, UTC.", metavar="DATE"),
]


@app.command("key-pair")
def key_pair(
    private: Annotated[Path, typer.Argument(help="Where to write the private key (mode 0600); keep it secret.")],
    public: Annotated[
        Path | None, typer.Option(help="Where to write the public key, which subsystems get; else PRIVATE.pub.")
    ] = None,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt the private key with a passphrase.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make the vendor's key pair (Ed25519). Files that are there are never overwritten."""
    with failures_end(as_json=as_json):
        passphrase = _passphrase(passphrase_file, twice=True) if encrypt or passphrase_file else None
        public_file = public or private.with_name(f"{private.name}.pub")
        made = {"private": str(private), "public": str(public_file)}
        made["key"] = keys.make_pair(private, public_file, passphrase)
        sentence = (
            f"Key {made['key']} was made: {private} signs licenses and is secret; name {public_file} in license_keys "
            "of the subsystems' configuration."
        )
        _answer(made, sentence, as_json=as_json)


@app.command()
def issue(
    key: Annotated[Path, typer.Argument(help="The vendor's private key.")],
    serial: Annotated[str, typer.Option(help="The subsystem's serial number, as “qreplica status” shows it.")],
    licensee: Annotated[str, typer.Option(help="Who is licensed.")],
    out: Annotated[Path, typer.Option(help="Where to write the license; never overwritten.")],
    days: Annotated[int | None, typer.Option(help="For how many days it is valid; else without end.")] = None,
    not_before: Day = None,
    expires_at: Day = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Issue a license for one subsystem."""
    with failures_end(as_json=as_json):
        content = issued(
            _signing_key(key, passphrase_file),
            serial=serial,
            licensee=licensee,
            now=now(),
            not_before=_utc(not_before),
            expires_at=_utc(expires_at),
            days=days,
        )
        keys.write_new(out, content, mode=0o644)
        license_, _ = document.read(content)
        sentence = f"License {license_.id} for {license_.serial} ({_term(license_)}) was written to {out}."
        _answer({"file": str(out), **license_.model_dump(mode="json")}, sentence, as_json=as_json)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="The license.")],
    public: Annotated[
        list[Path] | None, typer.Option(help="A vendor's public key, to check the signature with.")
    ] = None,
    serial: Annotated[str | None, typer.Option(help="The serial number that it should be for.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a license says, and whether it is valid; it ends with 2 if it is not.

    Without a public key the signature is not checked, and nothing in it can be relied on.
    """
    with failures_end(as_json=as_json):
        content = content_of(file)
        license_, _ = document.read(content)
        wrong = _wrong(license_, content, public or [], None if serial is None else check_serial(serial))
        answer = {
            **license_.model_dump(mode="json"),
            "valid": wrong is None and bool(public),
            "wrong": None if wrong is None else wrong.sentence,
        }
        if as_json:
            output.print_json(answer)
        else:
            output.print_view(_sheet(license_, wrong, checked=bool(public)))
    if wrong is not None:
        raise typer.Exit(wrong.exit_code)


def _wrong(license_: License, content: bytes, public: list[Path], serial: str | None) -> QReplicaError | None:
    """Return what is wrong with a license, as far as is looked at, if anything is."""
    trusted = keys.trusted(public)
    try:
        if trusted:
            document.genuine(content, trusted)
        license_.check_for(license_.serial if serial is None else serial)
        license_.check_at(now())
    except QReplicaError as error:
        return error
    return None


def _sheet(license_: License, wrong: QReplicaError | None, *, checked: bool) -> RenderableType:
    verdict = "valid" if checked else "not checked: give --public"
    facts = [(name, output.text(value)) for name, value in license_.model_dump(mode="json").items()]
    return output.sheet([*facts, ("verdict", verdict if wrong is None else wrong.sentence)])


def _signing_key(file: Path, passphrase_file: str | None) -> Ed25519PrivateKey:
    return keys.private(file, lambda: _passphrase(passphrase_file, twice=False))


def _passphrase(file: str | None, *, twice: bool) -> str:
    return asking.secret("passphrase", file, option="--passphrase-file", variable=VARIABLE, twice=twice)


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


def _term(license_: License) -> str:
    return "without end" if license_.expires_at is None else f"until {written(license_.expires_at)}"


def _answer(answer: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    else:
        output.print_view(sentence)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
