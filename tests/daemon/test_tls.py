"""A whole controller whose management speaks TLS."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from qreplica.daemon.certificate import of_own

from .certificates import authority, bring
from .running import NAME, PASSWORD, SOURCE, Controller

pytestmark = pytest.mark.root


def configure(controller: Controller, *lines: str) -> None:
    text = controller.text()
    assert text.startswith("tls = false\n")
    controller.config.write_text("\n".join([*lines, text.removeprefix("tls = false\n")]))


def client(controller: Controller, trusted: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=trusted)
    return httpx.Client(
        base_url=f"https://127.0.0.1:{controller.listener.getsockname()[1]}/api/v1",
        verify=context,
        trust_env=False,
        timeout=60,
    )


def test_a_controller_shows_the_certificate_that_it_made_also_after_a_restart(
    controller: Controller, tmp_path: Path
) -> None:
    configure(controller)
    controller.start()
    state = tmp_path / "state"
    shown = of_own(state, 1)
    with pytest.raises(httpx.TransportError):
        controller.http.get("/health")
    secret = (state / "setup-secret").read_text().strip()
    with client(controller, shown.certificate) as https:
        body = {"setup_secret": secret, "name": NAME, "password": PASSWORD}
        assert https.post("/setup", json=body).status_code == 204
        given = https.post("/login", json={"name": NAME, "password": PASSWORD}).json()
        https.headers["Authorization"] = f"Bearer {given['token']}"
        (told,) = https.get("/controllers").json()
    assert told["fingerprint"] == shown.fingerprint
    assert told["management"].startswith("https://127.0.0.1:")
    assert shown.fingerprint in controller.log.read_text()
    controller.kill()
    controller.start()
    assert of_own(state, 1) == shown
    with client(controller, shown.certificate) as https:
        assert https.get("/health").json() == {"status": "ok"}


def test_the_command_line_speaks_to_it_by_its_fingerprint(controller: Controller, tmp_path: Path) -> None:
    configure(controller)
    controller.start()
    qreplica = command_line(controller, tmp_path)
    qreplica("node", "create", "one")
    assert "one" in qreplica("node", "list")
    assert controller.terminate() == 0


def command_line(controller: Controller, tmp_path: Path) -> Callable[..., str]:
    """Set the subsystem up by the command line, and return what runs it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
        "QREPLICA_PASSWORD": PASSWORD,
    }

    def qreplica(*words: str) -> str:
        argv = [sys.executable, "-c", "from qreplica.cli.main import main; main()", *words]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    url = f"https://127.0.0.1:{controller.listener.getsockname()[1]}"
    shown = of_own(tmp_path / "state", 1)
    secret = str(tmp_path / "state" / "setup-secret")
    qreplica("--url", url, "setup", "--name", NAME, "--setup-secret-file", secret, "--fingerprint", shown.fingerprint)
    return qreplica


def test_an_uploaded_certificate_is_shown_after_the_restart_and_the_command_line_goes_on(
    controller: Controller, tmp_path: Path
) -> None:
    place = tmp_path / "given"
    place.mkdir()
    signer = authority(place)
    certificate, key = bring(place, signer=signer)
    configure(controller)
    controller.start()
    qreplica = command_line(controller, tmp_path)
    chain = place / "chain.pem"
    chain.write_text(certificate.read_text() + signer.file.read_text())
    qreplica("certificate", "upload", str(chain), "--key", str(key))
    secret = key.read_text().splitlines()[1]
    key.unlink()
    qreplica("subsystem", "restart", "--yes", "--follow")
    # Not by its fingerprint, but since the authority has signed it, whose certificate alone is known.
    url = f"https://localhost:{controller.listener.getsockname()[1]}/api/v1/health"
    context = ssl.create_default_context(cafile=signer.file)
    assert httpx.get(url, verify=context, trust_env=False).json() == {"status": "ok"}
    assert secret not in controller.log.read_text()
    assert controller.terminate() == 0


def test_the_administrators_certificate_is_shown(controller: Controller, tmp_path: Path) -> None:
    place = tmp_path / "given"
    place.mkdir()
    certificate, key = bring(place)
    configure(controller, f"tls_certificate = '{certificate}'", f"tls_key = '{key}'")
    controller.start()
    der = ssl.get_server_certificate(("127.0.0.1", controller.listener.getsockname()[1]))
    assert der.split() == certificate.read_text().split()
    assert not (tmp_path / "state" / "tls").exists()


def test_a_certificate_that_cannot_be_used_is_told_of_in_one_sentence(controller: Controller, tmp_path: Path) -> None:
    certificate, key = bring(tmp_path)
    key.chmod(0o644)
    configure(controller, f"tls_certificate = '{certificate}'", f"tls_key = '{key}'")
    done = subprocess.run(
        [sys.executable, "-m", "qreplica.daemon", "--config", str(controller.config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 2
    assert "others than its owner may read the key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_controller_with_tls_ends_in_order_while_a_client_stays_connected(controller: Controller) -> None:
    configure(controller)
    controller.start()
    with client(controller, of_own(controller.directory / "state", 1).certificate) as https:
        assert https.get("/health").status_code == 200
        assert controller.process is not None
        controller.process.send_signal(signal.SIGTERM)
        assert controller.process.wait(60) == 0
