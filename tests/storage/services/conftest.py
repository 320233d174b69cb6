"""Fixtures: a subsystem's state over a memory driver."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from qreplica.state.database import Database
from qreplica.state.types import Secret
from qreplica.units import GIB

from .crowded import CrowdedWorld
from .mirror import EngineWorld
from .world import World


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state database without rows: copying it is faster than migrating anew."""
    file = tmp_path_factory.mktemp("state") / "state.db"
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    database.dispose()
    return file


@pytest.fixture
def world(tmp_path: Path, empty_state: Path) -> Iterator[World]:
    Secret.unlock(Fernet.generate_key())
    shutil.copy(empty_state, tmp_path / "state.db")
    made = World(tmp_path)
    yield made
    made.database.dispose()


@pytest.fixture
def mirror(tmp_path: Path, empty_state: Path) -> Iterator[EngineWorld]:
    """A RAID 1 group of d1 and d2 over an engine whose disks can fail, and free disks d3 and small."""
    Secret.unlock(Fernet.generate_key())
    shutil.copy(empty_state, tmp_path / "state.db")
    made = EngineWorld(tmp_path)
    made.mirror()
    made.disk("d3", 2 * GIB)
    made.disk("small", GIB)
    yield made
    made.database.dispose()


@pytest.fixture
def crowded(tmp_path: Path, empty_state: Path) -> Iterator[CrowdedWorld]:
    """A sold-out RG over an engine that holds as much as a test says."""
    Secret.unlock(Fernet.generate_key())
    shutil.copy(empty_state, tmp_path / "state.db")
    made = CrowdedWorld(tmp_path)
    yield made
    made.database.dispose()
