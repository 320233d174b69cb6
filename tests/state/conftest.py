"""A state database in a directory of its own, and other processes that use it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from qreplica.state.database import Database
from qreplica.state.types import Secret

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def quick_upgrade() -> None:
    """Here migrations are what is tested."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'qreplica.db'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    Secret.unlock(Fernet.generate_key())
    made = Database(url)
    made.upgrade()
    yield made
    made.dispose()


@pytest.fixture
def other_process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Run Python text in another process; its arguments are in ``sys.argv``; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
