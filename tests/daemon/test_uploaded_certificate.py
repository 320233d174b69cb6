"""A certificate that is uploaded: which are taken, which one a controller shows then, and who is told of its end."""

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import select, text

from qreplica.access import certificate_pem, certificates
from qreplica.access.certificates import Source
from qreplica.access.errors import CertificateConfigured, CertificateNotFit
from qreplica.daemon import certificate, certificate_watch
from qreplica.daemon.certificate_watch import CertificateWatch
from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.state import open_state
from qreplica.iscsi import ports
from qreplica.state.access_models import UploadedCertificate
from qreplica.state.database import Database
from qreplica.state.models import Controller, Event

from .certificates import Key, Signer, authority, bring, now

DAY = dt.timedelta(days=1)


def given(directory: Path, **how: object) -> tuple[str, str]:
    """Return the text of a certificate and of its key."""
    directory.mkdir(exist_ok=True)
    shown, key = bring(directory, **how)  # type: ignore[arg-type] # whatever it takes
    return shown.read_text(), key.read_text()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA 2048"),
        (ec.generate_private_key(ec.SECP256R1()), "ECDSA secp256r1"),
        (ec.generate_private_key(ec.SECP521R1()), "ECDSA secp521r1"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
)
def test_a_certificate_with_a_strong_key_is_taken(tmp_path: Path, key: Key, told: str) -> None:
    chain, text_of_key = given(tmp_path, key=key, host="box.example")
    taken = certificate_pem.fit(chain, text_of_key, now())
    assert (taken.facts.subject, taken.facts.issuer) == ("“box.example”", "“box.example”")
    assert (taken.facts.names, taken.facts.key) == (("box.example",), told)
    assert taken.facts == certificate_pem.facts_of(taken.chain)
    assert text_of_key.splitlines()[1] not in repr(taken)


def test_a_chain_in_its_order_is_taken_and_nothing_else_is_kept(tmp_path: Path) -> None:
    root = authority(tmp_path, "Root")
    between = authority(tmp_path, "Between", root)
    own, key = given(tmp_path, signer=between)
    whole = own + between.file.read_text() + root.file.read_text()
    for chain in (own, own + between.file.read_text(), whole, f"a word before\n{key}{whole}"):
        taken = certificate_pem.fit(chain, key, now())
        assert "PRIVATE KEY" not in taken.chain
        assert taken.chain.count("BEGIN") == chain.count("BEGIN CERTIFICATE")
    for chain in (
        own + root.file.read_text() + between.file.read_text(),
        own + root.file.read_text(),
        own + own,
        whole + root.file.read_text(),
    ):
        with pytest.raises(CertificateNotFit):
            certificate_pem.fit(chain, key, now())
    with pytest.raises(CertificateNotFit, match="not signed by the next, “Root”"):
        certificate_pem.fit(own + root.file.read_text(), key, now())
    with pytest.raises(CertificateNotFit, match="the key is not that of the first certificate"):
        certificate_pem.fit(between.file.read_text() + own, key, now())


def _unfit(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield chain, key, and why they cannot be used."""
    chain, key = given(tmp_path)
    _, other_key = given(tmp_path)
    yield chain, other_key, "the key is not that of the first certificate"
    yield chain, "", "there is no key in PEM form"
    yield chain, chain, "there is no key in PEM form"
    yield chain, key[:100] + "\n-----END PRIVATE KEY-----\n", "there is no key in PEM form"
    yield "", key, "it holds no certificate in PEM form"
    yield key, key, "it holds no certificate in PEM form"
    yield chain[:200] + "\n-----END CERTIFICATE-----\n", key, "it holds no certificate in PEM form"
    yield *given(tmp_path, password=b"secret"), "the key is encrypted"
    yield *given(tmp_path, until=-DAY / 2), "that of “localhost” ended 2"
    yield *given(tmp_path, since=DAY), "that of “localhost” is valid from 2"
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - on purpose
    yield *given(tmp_path, key=weak), "the key of “localhost”, RSA 1024, is weaker than RSA of 2048 bits"
    yield *given(tmp_path, key=ec.generate_private_key(ec.SECP224R1())), "ECDSA secp224r1, is weaker than"
    yield *given(tmp_path, key=ed448.Ed448PrivateKey.generate()), "its key is neither RSA nor ECDSA nor Ed25519"
    yield *given(tmp_path, usage=ExtendedKeyUsageOID.CLIENT_AUTH), "it is not for servers"


def test_what_cannot_be_shown_is_refused_by_name(tmp_path: Path) -> None:
    seen = []
    for chain, key, reason in _unfit(tmp_path):
        with pytest.raises(CertificateNotFit) as caught:
            certificate_pem.fit(chain, key, now())
        assert reason in str(caught.value)
        assert not set(key.splitlines()[1:-1]) & set(str(caught.value).split())
        seen.append(reason)
    assert len(seen) == 14


def test_an_issuer_that_is_no_authority_is_refused(tmp_path: Path) -> None:
    own_key = ec.generate_private_key(ec.SECP256R1())
    plain, _ = bring(tmp_path, host="plain", key=own_key)
    name = x509.load_pem_x509_certificate(plain.read_bytes()).subject
    signed, key = given(tmp_path / "signed", signer=Signer(own_key, name, plain))
    with pytest.raises(CertificateNotFit, match="“plain”, which follows as an issuer, is no other authority's"):
        certificate_pem.fit(signed + plain.read_text(), key, now())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        subsystem="source",
        controller=1,
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        tgt_control_port=1,
        ports=(PortConfig(number=1, interface="lo", address="127.0.0.1"),),
    )


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    made = open_state(config)
    with made.session() as session:
        ports.note(session, 1, config.ports)
    yield made
    made.dispose()


def upload(database: Database, chain: str, key: str) -> None:
    with database.session() as session:
        certificates.upload(session, chain, key, at=now(), controller=1)


def events(database: Database) -> list[tuple[str, str]]:
    with database.session(read_only=True) as session:
        return [(one.kind, one.message) for one in session.scalars(select(Event).order_by(Event.id))]


def test_a_controller_shows_its_own_until_one_is_uploaded_and_again_when_it_is_deleted(
    config: Config, database: Database, tmp_path: Path
) -> None:
    own = certificate.choose(config, database, ["127.0.0.1"])
    assert own is not None
    assert own.source is Source.OWN
    chain, key = given(tmp_path / "given")
    upload(database, chain, key)
    shown = certificate.choose(config, database, ["127.0.0.1"])
    assert shown is not None
    assert (shown.source, shown.fingerprint) == (Source.UPLOADED, certificate_pem.facts_of(chain).fingerprint)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(shown.certificate, shown.key)
    upload(database, chain, key)
    assert [kind for kind, _ in events(database)] == ["certificate-uploaded"]
    assert shown.fingerprint in events(database)[0][1]
    with database.session() as session:
        certificates.forget(session, controller=1)
        certificates.forget(session, controller=1)
    assert certificate.choose(config, database, ["127.0.0.1"]) == own
    assert [kind for kind, _ in events(database)] == ["certificate-uploaded", "certificate-deleted"]


def test_the_key_lies_nowhere_in_the_clear(config: Config, database: Database, tmp_path: Path) -> None:
    chain, key = given(tmp_path / "given")
    upload(database, chain, key)
    assert certificate.choose(config, database, []) is not None
    for file in (tmp_path / "given").iterdir():
        file.unlink()
    secret = key.splitlines()[1].encode()
    held = [file for file in tmp_path.rglob("*") if file.is_file() and secret in file.read_bytes()]
    assert held == []
    with database.session(read_only=True) as session:
        assert certificates.uploaded(session) == (chain, key)


def test_an_uploaded_one_that_has_ended_is_shown_so_that_another_can_be_uploaded(
    config: Config, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(database, *given(tmp_path / "given"))
    monkeypatch.setattr(certificate, "_now", lambda: now() + 100 * DAY)
    shown = certificate.choose(config, database, [])
    assert shown is not None
    assert shown.source is Source.UPLOADED


def test_one_whose_key_is_lost_is_told_of_and_the_controllers_own_is_shown(
    config: Config, database: Database, tmp_path: Path
) -> None:
    upload(database, *given(tmp_path / "given"))
    with database.session() as session:
        session.execute(text("UPDATE certificates SET key = 'damaged'"))
    shown = certificate.choose(config, database, [])
    assert shown is not None
    assert shown.source is Source.OWN
    assert events(database)[-1][0] == "certificate-not-shown"


def test_a_configured_one_goes_before_and_keeps_others_from_being_uploaded(
    config: Config, database: Database, tmp_path: Path
) -> None:
    chain, key = given(tmp_path / "given")
    upload(database, chain, key)
    (tmp_path / "file").mkdir()
    files = bring(tmp_path / "file")
    configured = config.model_copy(update={"tls_certificate": files[0], "tls_key": files[1]})
    shown = certificate.choose(configured, database, [])
    assert shown is not None
    assert shown.source is Source.FILE
    with database.session() as session:
        certificate_watch.note(session.get_one(Controller, 1), shown)
        status = certificates.status(session, lambda _: None, controller=1)
        assert (status.controllers[0].next_fingerprint, status.controllers[0].restart_needed) == (
            shown.fingerprint,
            False,
        )
    with pytest.raises(CertificateConfigured, match="configuration file of controller 1 names one"):
        upload(database, *given(tmp_path / "another"))
    with database.session(read_only=True) as session:
        assert session.query(UploadedCertificate).one().chain == chain
    assert certificate.choose(config.model_copy(update={"tls": False}), database, []) is None


def test_its_end_is_told_a_month_and_a_week_before_and_when_it_comes(
    config: Config, database: Database, tmp_path: Path
) -> None:
    upload(database, *given(tmp_path / "given", until=90 * DAY))

    def start() -> None:
        shown = certificate.choose(config, database, [])
        with database.session() as session:
            certificate_watch.note(session.get_one(Controller, 1), shown)

    begin, passed = now(), dt.timedelta()
    watch = CertificateWatch(database, 1, clock=lambda: begin + passed)

    def told() -> list[str]:
        watch.round()
        watch.round()
        return [kind for kind, _ in events(database)][1:]

    watch.round()  # nothing is known of a certificate yet
    start()
    assert told() == []
    for days, expected in (
        (59, []),
        (61, ["certificate-ends"]),
        (80, ["certificate-ends"]),
        (84, ["certificate-ends"] * 2),
        (91, ["certificate-ends"] * 2 + ["certificate-ended"]),
    ):
        passed = days * DAY
        start()  # another start tells nothing again
        assert told() == expected
    assert "qreplica certificate upload" in events(database)[-1][1]
    upload(database, *given(tmp_path / "given", until=95 * DAY))
    start()
    assert told()[-1] == "certificate-ends"
