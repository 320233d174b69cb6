"""Subsystems to ask, each with an administrator who is logged in."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worlds = _load("qreplica_worlds", Path(__file__).with_name("world.py"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[worlds.World]:  # type: ignore[name-defined] # loaded at run time
    made = worlds.World(tmp_path / "source")
    yield made
    made.close()


@pytest.fixture
def port(world) -> Iterator[int]:
    with worlds.served(world.app) as number:
        yield number


@pytest.fixture
def admin(world, port: int):
    administrator = worlds.Administrator(port)
    administrator.set_up(world)
    yield administrator
    administrator.http.close()


@pytest.fixture
def stranger(port: int):
    administrator = worlds.Administrator(port)
    yield administrator
    administrator.http.close()
