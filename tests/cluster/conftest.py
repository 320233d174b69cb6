"""A state with RGs to hold leases of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from qreplica.state.database import Database
from qreplica.state.models import RaidGroup
from qreplica.state.types import Secret
from qreplica.storage.driver import RaidLevel


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    Secret.unlock(Fernet.generate_key())
    made = Database(f"sqlite:///{tmp_path / 'qreplica.db'}")
    made.upgrade()
    with made.session() as session:
        for name in ("rg1", "rg2"):
            session.add(RaidGroup(id=name, name=name, level=RaidLevel.RAID1, usable=0, reserve=0))
    yield made
    made.dispose()
