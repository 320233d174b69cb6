"""A stale owner comes back while its successor takes the cycle's snapshot, or has taken it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from qreplica.replication import jobs
from qreplica.state.models import JobState, Snapshot
from qreplica.state.types import Secret

from .model_source import Worker
from .model_target import TargetPair
from .pair import Pair


@pytest.fixture
def target_pair(on_tmpfs: Path, copied_state: Path) -> Iterator[TargetPair]:
    """Its job has made its first copy, and the next cycle is to begin."""
    Secret.unlock(Fernet.generate_key())
    made = TargetPair(Path(tempfile.mkdtemp(dir=on_tmpfs)), copied_state)
    made.write(3, 33)
    jobs.start(made.database, "nightly")
    yield made
    made.dispose()


@pytest.mark.parametrize("steps", range(1, 16))
@pytest.mark.parametrize("place", ["take_snapshot", "committed"])
def test_what_a_stale_owner_does_about_the_snapshot_harms_nobody(
    target_pair: TargetPair, place: str, steps: int
) -> None:
    pair = target_pair
    former, successor = Worker(pair, 1), Worker(pair, 1)
    former.bring(place, 1 if place == "take_snapshot" else 4)
    for _ in range(steps):
        successor.step()
    rows = [row.attempt for row in _snapshots(pair)]
    assert former.wait() == 3
    assert [row.attempt for row in _snapshots(pair)] == rows
    assert successor.wait() == 0
    assert pair.job().state is JobState.IDLE, pair.job().error
    assert pair.snapshots() == {pair.job().base_snapshot_id}
    pair.check_points()


def _snapshots(pair: Pair) -> list[Snapshot]:
    with pair.database.session(read_only=True) as session:
        return session.query(Snapshot).all()
