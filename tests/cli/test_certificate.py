"""The TLS certificate on the command line, which goes on knowing a subsystem that gets another one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qreplica.daemon import certificate, certificate_watch
from qreplica.state.models import Controller

from .test_trust import PASSWORD, certificates, worlds


class Box:
    """A subsystem that speaks TLS at one address, and can be started again with another certificate."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve by the certificate that a start now takes, and give its fingerprint."""
        shown = certificate.choose(self.world.services.config, self.world.database, ["127.0.0.1"])
        assert shown is not None
        with worlds.served(self.world.app, shown.certificate, shown.key, port=self.port) as self.port:
            with self.world.database.session() as session:
                row = session.get_one(Controller, 1)
                certificate_watch.note(row, shown)
                row.management = self.url
            yield shown.fingerprint

    def set_up(self, shell: Any, *options: str) -> None:
        secret = str(self.world.directory / "setup-secret")
        words = ("setup", "--name", "admin", "--setup-secret-file", secret)
        shell.run("--url", self.url, *words, *options, QREPLICA_PASSWORD=PASSWORD)


@pytest.fixture
def box(world: Any) -> Box:
    return Box(world)


def flat(text: str) -> str:
    return " ".join(text.split())


def login_of(shell: Any) -> dict[str, Any]:
    (login,) = json.loads(shell.credentials.read_text())["logins"]
    return dict(login)


def test_who_uploads_goes_on_knowing_the_subsystem_and_others_are_told_what_changed(
    box: Box, shell: Any, tmp_path: Path
) -> None:
    shown, key = certificates.bring(tmp_path, host="box.example")
    with box.running() as own:
        box.set_up(shell, "--fingerprint", own)
        sheet = flat(shell.run("certificate", "show").out)
        assert "Controller 1 its own certificate" in sheet
        assert own in shell.run("certificate", "show", COLUMNS="200").out
        said = flat(shell.run("certificate", "upload", str(shown), "--key", str(key)).out)
        assert "when it was restarted: “qreplica subsystem restart”" in said
        assert "restart needed" in shell.run("certificate", "show").out
        # Until the restart the old one is shown, and known.
        assert shell.run("vd", "list", "--json").json() == []
        stranger = login_of(shell) | {"coming": []}
    with box.running() as given:
        assert given != own
        assert shell.run("vd", "list", "--json").json() == []
        assert login_of(shell)["pins"] == {box.url: given}
        assert "box.example" in shell.run("certificate", "show").out
        shell.run("login", "--name", "admin", QREPLICA_PASSWORD=PASSWORD)
        mine = shell.credentials.read_text()
        shell.credentials.write_text(json.dumps({"logins": [stranger]}))
        ended = shell.run("vd", "list", "--json", code=7)
        detail = ended.problem()["detail"]
        assert ended.problem()["type"] == "urn:qreplica:error:certificate-changed"
        assert f"shows the certificate {given} instead of {own}" in detail
        assert "says that it is of “box.example” and signed by “box.example”" in detail
        assert f"log in again with --fingerprint {given}" in detail
        shell.run("login", "--name", "admin", "--fingerprint", given, QREPLICA_PASSWORD=PASSWORD)
        assert shell.run("vd", "list", "--json").json() == []
        shell.credentials.write_text(mine)
        shell.run("certificate", "delete", code=4)
        assert "of its own making" in flat(shell.run("certificate", "delete", "--yes").out)
    with box.running() as back:
        assert back == own
        assert shell.run("vd", "list", "--json").json() == []
        assert login_of(shell)["pins"] == {box.url: own}


def test_what_was_shown_before_is_not_trusted_any_more(box: Box, shell: Any, tmp_path: Path) -> None:
    """Its key may have been stolen, which is why it was replaced."""
    shown, key = certificates.bring(tmp_path)
    with box.running() as own:
        box.set_up(shell, "--fingerprint", own)
        shell.run("certificate", "upload", str(shown), "--key", str(key))
    with box.running():
        shell.run("vd", "list")
    thief = certificate.of_own(box.world.directory, 1)
    with worlds.served(box.world.app, thief.certificate, thief.key, port=box.port):
        ended = shell.run("vd", "list", "--json", code=7)
        assert ended.problem()["type"] == "urn:qreplica:error:certificate-changed"


def test_who_asks_an_authority_is_told_what_to_do(box: Box, shell: Any, tmp_path: Path) -> None:
    signer = certificates.authority(tmp_path)
    shown, key = certificates.bring(tmp_path, signer=signer)
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + shown.read_text() + signer.file.read_text())
    with box.running():
        public = tmp_path / "public.pem"
        text = certificate.of_own(box.world.directory, 1).certificate.read_text()
        public.write_text(text[text.index("-----BEGIN CERTIFICATE") :])
        box.set_up(shell, "--ca-file", str(public))
        said = shell.run("certificate", "upload", str(both))  # the key in the same file
        assert "checks who signed the certificate" in flat(said.err)
        assert "--fingerprint" in said.err
    with box.running():
        assert "is not to be trusted" in flat(shell.run("vd", "list", code=7).err)


def test_files_that_are_none_are_told_of(box: Box, shell: Any, tmp_path: Path) -> None:
    shown, _ = certificates.bring(tmp_path)
    strange = tmp_path / "strange"
    strange.write_bytes(b"\xff\xfe")
    with box.running() as own:
        box.set_up(shell, "--fingerprint", own)
        missing = shell.run("certificate", "upload", str(tmp_path / "missing"), code=2)
        assert "cannot be read because No such file or directory" in flat(missing.err)
        assert "other characters than ASCII" in flat(shell.run("certificate", "upload", str(strange), code=2).err)
        assert "there is no key in PEM form" in flat(shell.run("certificate", "upload", str(shown), code=2).err)
        assert shell.run("certificate", "show", "--json").json()["uploaded"] is None
