"""The management API's certificate: the administrator's is checked, one of our own is made once."""

import datetime as dt
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from qreplica import fingerprints
from qreplica.daemon import certificate as module
from qreplica.daemon.certificate import CertificateUnusable, checked, identity, of_own
from qreplica.daemon.config import Config, PortConfig

from .certificates import authority, bring


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        subsystem="source",
        controller=2,
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        tgt_control_port=1,
        ports=(PortConfig(number=1, interface="lo", address="127.0.0.1"),),
    )


def test_one_of_our_own_is_made_once_for_root_alone(config: Config, tmp_path: Path) -> None:
    made = identity(config, ["192.0.2.1"])
    assert made is not None
    assert made == identity(config, ["192.0.2.9"]) == of_own(tmp_path, 2)
    assert made.certificate == made.key == tmp_path / "tls" / "controller-2.pem"
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.key.parent.stat().st_mode & 0o777 == 0o700
    shown = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"127.0.0.1", "192.0.2.1"} == {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    told = subprocess.run(
        ["openssl", "x509", "-in", made.certificate, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip().endswith(f"={made.fingerprint}")
    assert list(made.key.parent.iterdir()) == [made.key]


def test_on_all_addresses_it_names_all_of_the_machine(config: Config) -> None:
    made = identity(config, ["0.0.0.0"])  # noqa: S104 - nothing listens
    assert made is not None
    shown = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert "127.0.0.1" in addresses
    assert "0.0.0.0" not in addresses  # noqa: S104 - nothing listens


def test_one_that_has_ended_is_made_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity(config, [])
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=4000)
    monkeypatch.setattr(module, "_now", lambda: later)
    second = identity(config, [])
    assert first is not None
    assert second is not None
    assert second.fingerprint != first.fingerprint
    assert second.ends > later


def test_without_tls_there_is_none(config: Config, tmp_path: Path) -> None:
    assert identity(config.model_copy(update={"tls": False}), []) is None
    assert not (tmp_path / "tls").exists()


def test_the_administrators_is_used(config: Config, tmp_path: Path) -> None:
    files = bring(tmp_path)
    given = config.model_copy(update={"tls_certificate": files[0], "tls_key": files[1]})
    used = identity(given, [])
    assert used is not None
    assert (used.certificate, used.key) == files
    der = ssl.PEM_cert_to_DER_cert(files[0].read_text())
    assert used.fingerprint == fingerprints.of(der)
    assert not (tmp_path / "tls").exists()


def test_the_first_of_a_chain_is_the_controllers(tmp_path: Path) -> None:
    signer = authority(tmp_path)
    shown, key = bring(tmp_path, signer=signer)
    alone = checked(shown, key)
    shown.write_bytes(shown.read_bytes() + signer.file.read_bytes())
    assert checked(shown, key) == alone


DAY = dt.timedelta(days=1)


def _other_key(_: Path, key: Path) -> None:
    place = key.parent / "other"
    place.mkdir()
    key.write_bytes(bring(place)[1].read_bytes())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda shown, _: shown.unlink(), "the certificate cannot be read (No such file or directory)"),
        (lambda _, key: key.unlink(), "the key cannot be read (No such file or directory)"),
        (lambda shown, _: shown.write_text("nothing"), "the certificate's file holds none in PEM form"),
        (lambda shown, _: shown.write_bytes(b"\xff\x00"), "the certificate's file holds none in PEM form"),
        (lambda _, key: key.write_text("nothing"), "the key's file holds none in PEM form"),
        (lambda _, key: key.chmod(0o640), "others than its owner may read the key (its mode is 0640"),
        (_other_key, "the key is not the certificate's"),
        (lambda shown, _: bring(shown.parent, until=-DAY / 2), "it ended 2"),
        (lambda shown, _: bring(shown.parent, since=DAY), "it is not valid before 2"),
        (lambda shown, _: bring(shown.parent, password=b"secret"), "the key is encrypted"),
        (
            lambda shown, _: bring(shown.parent, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 - on purpose
            "OpenSSL refuses it (EE_KEY_TOO_SMALL)",
        ),
    ],
)
def test_what_cannot_be_used_is_told_of(tmp_path: Path, spoil: Callable[[Path, Path], object], reason: str) -> None:
    shown, key = bring(tmp_path)
    checked(shown, key)
    spoil(shown, key)
    with pytest.raises(CertificateUnusable) as caught:
        checked(shown, key)
    assert f"{shown} with the key {key} cannot be used because {reason}" in str(caught.value)
