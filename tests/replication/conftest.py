"""A pair of subsystems whose files are on tmpfs."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from qreplica.replication import digests
from qreplica.state.models import Base
from qreplica.state.types import Secret

from .pair import Pair, first_copy


@pytest.fixture(autouse=True)
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target tells of a few chunks at a time, so that small disks too are compared in several windows."""
    monkeypatch.setattr(digests, "MOST_CHUNKS", 4)


@pytest.fixture(scope="session")
def on_tmpfs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def empty_state(on_tmpfs: Path) -> Path:
    """The files of a pair whose databases have all tables and no rows."""
    for side in ("source", "target"):
        folder = on_tmpfs / "empty" / side
        folder.mkdir(parents=True)
        engine = create_engine(f"sqlite:///{folder}/state.db")
        Base.metadata.create_all(engine)
        engine.dispose()
    return on_tmpfs / "empty"


@pytest.fixture(scope="session")
def copied_state(on_tmpfs: Path, empty_state: Path) -> Path:
    """The files of a pair whose job has made its first copy."""
    Secret.unlock(Fernet.generate_key())
    pair = Pair(on_tmpfs / "copied", empty_state)
    first_copy(pair)
    pair.dispose()
    return pair.folder


@pytest.fixture
def make_pair(on_tmpfs: Path, empty_state: Path) -> Iterator[Callable[..., Pair]]:
    Secret.unlock(Fernet.generate_key())
    pairs: list[Pair] = []

    def make(template: Path = empty_state) -> Pair:
        pairs.append(Pair(Path(tempfile.mkdtemp(dir=on_tmpfs)), template))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.dispose()


@pytest.fixture
def make_copied(make_pair: Callable[..., Pair], copied_state: Path) -> Callable[[], Pair]:
    """Makes pairs whose job has made its first copy."""
    return lambda: make_pair(copied_state)


@pytest.fixture
def pair(make_pair: Callable[[], Pair]) -> Pair:
    return make_pair()
