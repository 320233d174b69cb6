"""Fixtures: a subsystem with a few virtual disks over the memory storage driver."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from qreplica.state.types import Secret

from .world import World, furnish


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the state and storage that every test begins with: copying it is faster than making it."""
    place = tmp_path_factory.mktemp("furnished")
    furnish(place)
    return place


@pytest.fixture
def world(tmp_path: Path, furnished: Path) -> Iterator[World]:
    Secret.unlock(Fernet.generate_key())
    # The disk stays where the state says that it is; only its being there matters.
    shutil.copytree(furnished, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("disk*"))
    made = World(tmp_path)
    yield made
    made.database.dispose()
