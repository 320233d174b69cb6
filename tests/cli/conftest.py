"""The command line as a process of its own, and subsystems for it to talk to."""

import importlib.util
import io
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from argon2 import PasswordHasher

from qreplica.access import passwords
from qreplica.cli.main import app


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worlds = _load("qreplica_worlds_of_cli", Path(__file__).parents[1] / "api" / "world.py")


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", hasher)


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a directory in memory where there is such a place: databases that wait for a disk are slow."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir=place) as directory:
        yield Path(directory)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def problem(self) -> dict[str, Any]:
        return json.loads(self.err)


class Shell:
    """Runs ``qreplica`` as this user, who has a home of their own, without a terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "PYTHONWARNINGS": "error",
            "TZ": "Europe/Vienna",
            "COLUMNS": "100",
        }

    @property
    def credentials(self) -> Path:
        return self.home / ".config" / "qreplica" / "credentials.json"

    def run(self, *arguments: str, stdin: str = "", code: int = 0, **environment: str) -> Ended:
        """Run a command in this process, which is faster; it must end with ``code``."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in (*os.environ,):
                patch.delenv(name)
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            time.tzset()
            with pytest.raises(SystemExit) as ended_by:
                app(list(arguments), prog_name="qreplica")
        time.tzset()
        ended = Ended(int(ended_by.value.code or 0), out.getvalue(), err.getvalue())
        assert ended.code == code, ended
        return ended

    def execute(self, *arguments: str, stdin: str = "", code: int = 0, **environment: str) -> Ended:
        """Run a command as a process of its own, as people do; it must end with ``code``."""
        process = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment | environment,
        )
        ended = Ended(process.returncode, process.stdout, process.stderr)
        assert ended.code == code, ended
        return ended

    def talk(self, *arguments: str, answers: Sequence[tuple[str, str]], code: int = 0) -> str:
        """Run a command on a terminal; wait for each question, give its answer, and return all that was shown."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=self.environment
        )
        os.close(theirs)
        shown = bytearray()
        try:
            for question, answer in answers:
                while question.encode() not in shown:
                    assert select.select([ours], [], [], 60)[0], f"“{question}” was not asked: {shown.decode()}"
                    shown += os.read(ours, 4096)
                os.write(ours, f"{answer}\n".encode())
            with suppress(OSError):  # EIO: the command has closed the terminal
                while piece := os.read(ours, 4096):
                    shown += piece
            assert process.wait(timeout=60) == code, shown.decode()
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        return shown.decode()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from qreplica.cli.main import main; main()", *arguments]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    home = tmp_path / "home"
    home.mkdir()
    return Shell(home)


@pytest.fixture
def world(memory: Path) -> Iterator[Any]:
    made = worlds.World(memory / "source")
    yield made
    made.close()


@pytest.fixture
def url(world: Any) -> Iterator[str]:
    with worlds.served(world.app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def logged_in(world: Any, url: str, shell: Shell) -> Shell:
    """Give a shell of an administrator who is logged in to ``world``."""
    shell.run(
        *("--url", url, "setup", "--name", "admin", "--setup-secret-file", str(world.directory / "setup-secret")),
        QREPLICA_PASSWORD=worlds.PASSWORD,
    )
    return shell


@pytest.fixture
def served_target(memory: Path) -> Iterator[Any]:
    """Give a second subsystem, and the port of its peer conversation."""
    target = worlds.World(memory / "target", "target")
    with worlds.served(target.peer_app()) as port:
        yield target, port
    target.close()
