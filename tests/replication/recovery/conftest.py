"""Fixtures: target subsystems over memory drivers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import event

from qreplica.state.database import Database
from qreplica.state.models import Lun, Node, RaidGroup, Subsystem, VdType, VirtualDisk
from qreplica.state.types import Secret
from qreplica.storage.driver import RaidLevel
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

from .world import GROUP, IQN, SIZE, VD, World


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with tables and nothing in them, to be copied."""
    file = tmp_path_factory.mktemp("state") / "state.db"
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    database.dispose()
    return file


def _open_fast(file: Path) -> Database:
    """Open a database that does not wait for the disk: only processes die here, not machines."""
    database = Database(f"sqlite:///{file}")
    event.listen(
        database._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF").close()
    )
    return database


@pytest.fixture
def make_world(tmp_path: Path, empty_state: Path) -> Iterator[Callable[[], World]]:
    Secret.unlock(Fernet.generate_key())
    worlds = []

    def make() -> World:
        directory = tmp_path / str(len(worlds))
        directory.mkdir()
        database = _open_fast(Path(shutil.copy(empty_state, directory / "state.db")))
        storage = MemoryDriver(directory / "storage")
        disk = directory / "disk"
        with disk.open("xb") as file:
            file.truncate(GIB)
        storage.create_group(GROUP, [disk], RaidLevel.JBOD)
        storage.create_vd(GROUP, VD, SIZE)
        with database.session() as session:
            session.add(Subsystem(name="target", iqn_prefix="iqn.2026-11.org.qreplica"))
            session.add(RaidGroup(id=GROUP, name="rg1", level=RaidLevel.JBOD, usable=1 << 30, reserve=0))
            session.flush()
            vd = VirtualDisk(
                id=VD,
                name="b1",
                type=VdType.BACKUP,
                size=SIZE,
                snapshot_space=8 * SIZE,
                raid_group_id=GROUP,
                serial="b1",
            )
            node = Node(id="c" * 32, name="backup-1", iqn=IQN, tid=77, open_to_all=False)
            session.add_all([vd, node])
            session.flush()
            session.add(Lun(node_id=node.id, number=1, vd_id=VD))
        worlds.append(World(database, storage))
        return worlds[-1]

    yield make
    for world in worlds:
        world.database.dispose()


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()
