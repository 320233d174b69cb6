"""What an administrator does first with a new subsystem: set it up, log the command line in, add disks.

All of it goes through the ``qreplica`` command line, as people do it.
"""

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qreplica.cli import credentials
from qreplica.daemon import certificate
from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed
from qreplica.lab.processes import MARK
from qreplica.lab.topology import DEFAULT_ID, Controller, Lab, Side

ADMIN = "admin"
DISKS = 4
DISK_SIZE = "16GiB"
_LOOK_EVERY = 0.05


class CommandLine:
    """``qreplica`` logged in to one subsystem of a lab, under the subsystem's name; ``tell`` is told each command."""

    def __init__(self, lab: Lab, subsystem: Side, tell: Callable[[str], None] | None = None) -> None:
        self._lab = lab
        self._subsystem = subsystem
        self._tell = tell

    def __call__(self, *words: str) -> Any:  # noqa: ANN401 - the API's JSON
        """Run a command and return its JSON. Raises CommandFailed with the sentence that it printed."""
        argv = self._argv(words)
        output = run([*argv, "--json"], env=login_environment(self._lab))
        return json.loads(output) if output.strip() else None

    def watched(self, *words: str, look: Callable[[], None]) -> None:
        """Run a command that shows its progress on standard error; what ``look`` raises meanwhile ends it.

        Raises CommandFailed.
        """
        argv = self._argv(words)
        with subprocess.Popen(argv, env=login_environment(self._lab), stdout=sys.stderr) as process:
            try:
                while (code := _code_after(process, _LOOK_EVERY)) is None:
                    look()
            finally:
                process.terminate()
        if code:
            raise CommandFailed(command=shlex.join(argv), reason=f"see above; its exit code is {code}")

    def set_up(self, controller: Controller, url: str) -> None:
        """Make the first user and log in; the certificate is known from its file."""
        secret = controller.state_dir / "setup-secret"
        files = ("--setup-secret-file", str(secret), "--password-file", str(self._lab.password_file))
        shown = certificate.of_own(controller.state_dir, controller.number)
        setup = ("setup", "--name", ADMIN, "--as", self._subsystem, "--fingerprint", shown.fingerprint)
        run([_program(), "--url", url, *setup, *files, "--json"], env=login_environment(self._lab))

    def _argv(self, words: tuple[str, ...]) -> list[str]:
        argv = ["--on", self._subsystem, *words]
        if self._tell is not None:
            self._tell(f"qreplica {shlex.join(argv)}")
        return [_program(), *argv]


def _code_after(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _program() -> str:
    return str(Path(sys.executable).with_name("qreplica"))


def login_environment(lab: Lab) -> Mapping[str, str]:
    """Return the environment in which the command line finds the lab's logins.

    Only the default lab's are the user's own, so that others do not take their names away.
    """
    environment = {**os.environ, MARK: str(lab.directory)}
    if lab.id != DEFAULT_ID:
        environment["XDG_CONFIG_HOME"] = str(lab.directory / "config")
    return environment


def make_password(lab: Lab) -> None:
    """Write a random password for the administrator of both subsystems, for root alone."""
    write_secret(lab.password_file, secrets.token_urlsafe(18))


def write_secret(file: Path, secret: str) -> None:
    """Make a file with a secret for root alone, which must not be there yet."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret + "\n")


def set_up(controller: Controller, url: str) -> None:
    """Set the controller's subsystem up and give it its disks: sparse images."""
    qreplica = CommandLine(controller.lab, controller.subsystem)
    qreplica.set_up(controller, url)
    images = controller.directory / "disks"
    images.mkdir(mode=0o700)
    for number in range(1, DISKS + 1):
        name = f"disk{number}"
        qreplica("disk", "create", name, "--image", str(images / f"{name}.img"), "--size", DISK_SIZE)


def forget_logins(lab: Lab, urls: list[str]) -> None:
    """Remove the user's logins to a lab that is no more."""
    if lab.id == DEFAULT_ID:
        known = {login.url for login in credentials.load()}
        for url in known.intersection(urls):
            credentials.forget(url)
