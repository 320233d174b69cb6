"""``qreplica-license``: the vendor makes keys and licenses, and looks at them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from qreplica.license import keys
from qreplica.license.vendor import VARIABLE, app

from .conftest import SERIAL


def run(*words: object, code: int = 0, stdin: str = "", **environment: str) -> Result:
    result = CliRunner().invoke(app, list(map(str, words)), input=stdin, env={VARIABLE: None, **environment})
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


@pytest.fixture
def private(tmp_path: Path) -> Path:
    run("key-pair", tmp_path / "key")
    return tmp_path / "key"


def issue(private: Path, *words: object, out: str = "license", code: int = 0, **more: Any) -> Path:
    file = private.with_name(out)
    run("issue", private, "--serial", SERIAL, "--licensee", "Example Ltd", "--out", file, *words, code=code, **more)
    return file


def test_a_key_pair_is_for_its_owner_alone_and_never_overwritten(private: Path) -> None:
    public = private.with_name("key.pub")
    assert private.stat().st_mode & 0o777 == 0o600
    (fingerprint,) = keys.trusted([public])
    before = private.read_bytes(), public.read_bytes()
    assert "File exists" in run("key-pair", private, code=4).stderr
    other = private.with_name("other")
    assert "File exists" in run("key-pair", other, "--public", public, code=4).stderr
    assert not other.exists()
    assert (private.read_bytes(), public.read_bytes()) == before
    made = json.loads(run("key-pair", other, "--json").stdout)
    assert made["key"] != fingerprint
    assert made["key"] in keys.trusted([Path(made["public"])])
    assert "No such file" in run("key-pair", private / "x", code=4).stderr or os.geteuid() == 0


def test_a_license_is_issued_and_inspected(private: Path) -> None:
    file = issue(private, "--days", 30)
    public = private.with_name("key.pub")
    shown = json.loads(run("inspect", file, "--public", public, "--serial", SERIAL.lower(), "--json").stdout)
    assert (shown["serial"], shown["licensee"], shown["valid"], shown["wrong"]) == (SERIAL, "Example Ltd", True, None)
    assert "valid" in run("inspect", file, "--public", public).stdout
    unchecked = run("inspect", file)
    assert "not checked" in unchecked.stdout
    assert json.loads(run("inspect", file, "--json").stdout)["valid"] is False
    wrong = run("inspect", file, "--public", public, "--serial", "QR-0000-0000-0000", code=2)
    assert "and this one has QR-0000-0000-0000" in wrong.stdout.replace("\n", " ").replace("  ", " ")
    run("key-pair", private.with_name("other"))
    theirs = json.loads(run("inspect", file, "--public", private.with_name("other.pub"), "--json", code=2).stdout)
    assert (theirs["valid"], "was signed with the key" in theirs["wrong"]) == (False, True)
    before = file.read_bytes()
    assert issue(private, code=4) == file
    assert file.read_bytes() == before
    file.write_bytes(before.replace(b"Ltd", b"Inc"))
    assert json.loads(run("inspect", file, "--public", public, "--json", code=2).stdout)["wrong"] is not None
    file.write_bytes(before[:-9])
    assert "ends too early" in run("inspect", file, code=2).stderr
    assert "No such file" in run("inspect", file.with_name("nowhere"), code=2).stderr


def test_dates_are_utc_and_must_make_sense(private: Path) -> None:
    file = issue(private, "--not-before", "2090-01-02", "--expires-at", "2091-01-02T03:04:05Z")
    shown = json.loads(file.read_text())
    assert (shown["not_before"], shown["expires_at"]) == ("2090-01-02T00:00:00Z", "2091-01-02T03:04:05Z")
    early = run("inspect", file, "--json", code=2)
    assert "valid from 2090-01-02T00:00:00Z" in json.loads(early.stdout)["wrong"]
    for words in (
        ("--days", 0),
        ("--days", 1, "--expires-at", "2090-01-01"),
        ("--expires-at", "2001-01-01"),
        ("--days", "x"),
    ):
        assert not issue(private, *words, out="none", code=2).exists()
    assert not issue(private, "--serial", "QR-0000-0000-0001", out="none", code=2).exists()


def test_a_key_may_be_encrypted_by_file_variable_or_standard_input(tmp_path: Path) -> None:
    private, passphrase = tmp_path / "key", tmp_path / "passphrase"
    passphrase.write_text("open sesame\n")
    run("key-pair", private, "--passphrase-file", passphrase)
    assert b"ENCRYPTED" in private.read_bytes()
    issue(private, "--passphrase-file", passphrase, out="one")
    issue(private, out="two", **{VARIABLE: "open sesame"})
    issue(private, "--passphrase-file", "-", out="three", stdin="open sesame\n")
    assert not issue(private, out="none", code=2).exists()
    assert not issue(private, out="none", code=2, **{VARIABLE: "wrong"}).exists()
    assert "is needed" in run("key-pair", tmp_path / "other", "--encrypt", code=2).stderr
    assert not (tmp_path / "other").exists()


def test_what_is_no_private_key_is_told(private: Path, tmp_path: Path) -> None:
    public = private.with_name("key.pub")
    other = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ed448").write_bytes(other)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    for key, reason in (
        (public, "holds no private key"),
        (tmp_path / "nowhere", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "ed448", "another kind than Ed25519"),
        (tmp_path / "large", "too large"),
    ):
        words = ("issue", key, "--serial", SERIAL, "--licensee", "x", "--out", tmp_path / "none")
        assert reason in " ".join(run(*words, code=2).stderr.split())


def test_it_runs_as_a_module_of_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "qreplica.license.vendor", "key-pair", str(tmp_path / "key")]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "is secret" in done.stdout
