"""A foreign disk and a source without jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.state.models import Job

from ...iscsi.initiator.conftest import Tgtd  # noqa: TID252 - a tgtd that is nobody's
from ..pair import JOB, Pair, fill  # noqa: TID252
from .world import DISK_SIZE, World


@pytest.fixture
def world(pair: Pair, tmp_path: Path) -> Iterator[World]:
    with pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
    fill(pair)
    file = tmp_path / "disk"
    with file.open("wb") as disk:
        disk.truncate(DISK_SIZE)
    tgtd = Tgtd(tmp_path)
    tgtd.start()
    try:
        made = World(pair, tgtd, file)
        made.show(file)
        yield made
    finally:
        tgtd.stop()
