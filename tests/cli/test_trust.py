"""How the command line knows a subsystem by its certificate."""

import importlib.util
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qreplica import fingerprints
from qreplica.daemon.certificate import checked
from qreplica.state.models import Controller

PASSWORD = "correct horse battery"


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


certificates = _load("qreplica_certificates", Path(__file__).parents[1] / "daemon" / "certificates.py")
worlds = _load("qreplica_worlds_of_trust", Path(__file__).parents[1] / "api" / "world.py")


class Box:
    """A subsystem that speaks TLS."""

    def __init__(self, world: Any, port: int, fingerprint: str) -> None:
        self.world = world
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.fingerprint = fingerprint

    def set_up(self, shell: Any, *options: str, url: str | None = None, code: int = 0) -> Any:
        secret = self.world.directory / "setup-secret"
        words = ("setup", "--name", "admin", "--setup-secret-file", str(secret), *options)
        return shell.run("--url", url or self.url, *words, code=code, QREPLICA_PASSWORD=PASSWORD)


@contextmanager
def serving(world: Any, directory: Path, **how: Any) -> Iterator[Box]:
    directory.mkdir(exist_ok=True)
    shown, key = certificates.bring(directory, **how)
    with worlds.served(world.app, shown, key) as port:
        yield Box(world, port, checked(shown, key).fingerprint)


@pytest.fixture
def box(world: Any, tmp_path: Path) -> Iterator[Box]:
    with serving(world, tmp_path / "tls") as made:
        yield made


def nobody_was_made(box: Box) -> bool:
    return (box.world.directory / "setup-secret").exists()


def test_a_fingerprint_that_is_given_is_kept_and_asked_for_from_then_on(box: Box, shell: Any) -> None:
    box.set_up(shell, "--fingerprint", box.fingerprint.replace(":", "").lower())
    (login,) = json.loads(shell.credentials.read_text())["logins"]
    assert login["pins"] == {box.url: box.fingerprint}
    assert shell.run("vd", "list", "--json").json() == []
    shell.run("login", "--name", "admin", QREPLICA_PASSWORD=PASSWORD)
    shell.run("logout")


def test_an_unknown_certificate_is_told_of_and_nothing_is_said_to_it(box: Box, shell: Any) -> None:
    ended = box.set_up(shell, code=7)
    assert f"log in with --fingerprint {box.fingerprint}" in ended.err
    assert nobody_was_made(box)
    assert not shell.credentials.exists()


def test_a_wrong_fingerprint_is_refused_before_anything_is_said(box: Box, shell: Any) -> None:
    ended = box.set_up(shell, "--fingerprint", "ab" * 32, code=7)
    assert f"shows the certificate {box.fingerprint} instead of AB:AB" in ended.err
    assert nobody_was_made(box)
    assert "is not a SHA-256 fingerprint" in box.set_up(shell, "--fingerprint", "abc", code=2).err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 7)])
def test_a_person_is_asked_once(box: Box, shell: Any, answer: str, code: int) -> None:
    box.set_up(shell, "--fingerprint", box.fingerprint)
    shell.credentials.unlink()
    question = ("Trust it from now on", answer)
    answers = [question, ("Password: ", PASSWORD)] if code == 0 else [question]
    shown = shell.talk("--url", box.url, "login", "--name", "admin", answers=answers, code=code)
    assert box.fingerprint in shown
    if code == 0:
        assert shell.run("vd", "list", "--json").json() == []
        shown = shell.talk("login", "--name", "admin", answers=[("Password: ", PASSWORD)])
        assert "Trust it" not in shown
    else:
        assert not shell.credentials.exists()


def test_another_certificate_ends_the_trust_and_the_token_is_not_told(box: Box, shell: Any, tmp_path: Path) -> None:
    box.set_up(shell, "--fingerprint", box.fingerprint)
    told: list[str] = []

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        told.append(scope["path"])
        await box.world.app(scope, receive, send)

    (login,) = json.loads(shell.credentials.read_text())["logins"]
    other = tmp_path / "other"
    other.mkdir()
    shown, key = certificates.bring(other)
    with worlds.served(spy, shown, key) as port:
        url = f"https://127.0.0.1:{port}"
        moved = login | {"url": url, "pins": {url: box.fingerprint}}
        shell.credentials.write_text(json.dumps({"logins": [moved]}))
        for words in (("vd", "list"), ("login", "--name", "admin"), ("logout",)):
            ended = shell.run(*words, "--json", code=7, QREPLICA_PASSWORD=PASSWORD)
            assert ended.problem()["type"] == "urn:qreplica:error:certificate-changed"
        assert told == []
        shell.run(
            "login", "--name", "admin", "--fingerprint", checked(shown, key).fingerprint, QREPLICA_PASSWORD=PASSWORD
        )
    assert told


def test_an_authority_vouches_for_the_name_that_is_asked(world: Any, shell: Any, tmp_path: Path) -> None:
    signer = certificates.authority(tmp_path)
    with serving(world, tmp_path / "tls", signer=signer) as box:
        by_name = f"https://localhost:{box.port}"
        ended = box.set_up(shell, "--ca-file", str(signer.file), code=7)
        assert "is not to be trusted" in ended.err
        assert nobody_was_made(box)
        box.set_up(shell, "--ca-file", str(signer.file), url=by_name)
        (login,) = json.loads(shell.credentials.read_text())["logins"]
        assert (login["pins"], login["ca_file"]) == ({}, str(signer.file))
        assert shell.run("vd", "list", "--json").json() == []
        shell.run("login", "--name", "admin", QREPLICA_PASSWORD=PASSWORD)
        signer.file.write_text("nothing")
        assert "certificates in PEM form" in shell.run("vd", "list", code=2).err
        signer.file.unlink()
        assert "No such file" in shell.run("vd", "list", code=2).err


def test_the_certificate_of_our_own_making_can_be_named_as_authority(world: Any, shell: Any, tmp_path: Path) -> None:
    from qreplica.daemon import certificate  # noqa: PLC0415 - here alone

    made = certificate.identity(world.services.config, ["127.0.0.1"])
    assert made is not None
    public = tmp_path / "public.pem"
    text = made.certificate.read_text()
    public.write_text(text[text.index("-----BEGIN CERTIFICATE") :])
    with worlds.served(world.app, made.certificate, made.key) as port:
        box = Box(world, port, made.fingerprint)
        box.set_up(shell, "--ca-file", str(public))
        assert shell.run("vd", "list", "--json").json() == []


def test_the_other_controller_is_known_by_what_the_first_tells(box: Box, shell: Any, tmp_path: Path) -> None:
    with serving(box.world, tmp_path / "second") as second:
        with box.world.database.session() as session:
            session.add(Controller(number=2, management=second.url, fingerprint=second.fingerprint))
        box.set_up(shell, "--fingerprint", box.fingerprint)
        (login,) = json.loads(shell.credentials.read_text())["logins"]
        assert login["pins"] == {box.url: box.fingerprint, second.url: second.fingerprint}
        nobody = "https://127.0.0.1:1"
        pins = login["pins"] | {nobody: box.fingerprint}
        changed = login | {"url": nobody, "also": [second.url], "pins": pins}
        shell.credentials.write_text(json.dumps({"logins": [changed]}))
        assert shell.run("vd", "list", "--json").json() == []
        pins[second.url] = box.fingerprint
        shell.credentials.write_text(json.dumps({"logins": [changed]}))
        assert f"instead of {box.fingerprint}" in shell.run("vd", "list", code=7).err


def test_what_speaks_no_tls_is_told_of(url: str, shell: Any) -> None:
    ended = shell.run("--url", url.replace("http:", "https:"), "login", "--name", "a", code=9, QREPLICA_PASSWORD="x")
    assert "cannot be reached" in ended.err


def test_a_connection_that_is_closed_in_the_handshake_is_told_of(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        url = f"https://127.0.0.1:{rude.getsockname()[1]}"

        def hang_up() -> None:
            rude.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            ended = shell.run("--url", url, "login", "--name", "a", code=9, QREPLICA_PASSWORD="x")
        finally:
            thread.join()
    assert "cannot be reached" in ended.err


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab " * 32])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(fingerprints.NotAFingerprint):
        fingerprints.normal(text)


def test_fingerprints_have_one_form() -> None:
    form = fingerprints.of(b"certificate")
    assert len(form) == 95
    assert fingerprints.normal(form.lower()) == fingerprints.normal(f" sha256:{form.replace(':', '')}\n") == form
