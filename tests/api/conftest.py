"""Subsystems to ask, each with an administrator who is logged in."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from argon2 import PasswordHasher

from qreplica.access import passwords


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worlds = _load("qreplica_worlds", Path(__file__).with_name("world.py"))


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords cheaply: each test makes some, and none tests how well they are guarded."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", hasher)


@pytest.fixture
def world() -> Iterator[Any]:
    # In memory where there is such a place: a database that waits for a disk is most of such a test's time.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir=memory) as directory:
        made = worlds.World(Path(directory) / "source")
        yield made
        made.close()


@pytest.fixture
def port(world: Any) -> Iterator[int]:
    with worlds.served(world.app) as number:
        yield number


@pytest.fixture
def admin(world: Any, port: int) -> Iterator[Any]:
    administrator = worlds.Administrator(port)
    administrator.set_up(world)
    yield administrator
    administrator.http.close()


@pytest.fixture
def stranger(port: int) -> Iterator[Any]:
    administrator = worlds.Administrator(port)
    yield administrator
    administrator.http.close()
