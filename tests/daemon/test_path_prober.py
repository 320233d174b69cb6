"""Paths that failed are looked at again, by the controller that runs their jobs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from qreplica.daemon.path_prober import PathProber
from qreplica.iscsi.errors import PortalUnreachable
from qreplica.replication.links import Target, Way
from qreplica.state.database import Database
from qreplica.state.models import Event, Job, PathState, RaidGroup, Subsystem, VdType, VirtualDisk
from qreplica.state.models import Path as JobPath
from qreplica.state.types import Secret
from qreplica.storage.driver import RaidLevel

from .running import eventually

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A subsystem with job “a” of controller 1 and “b” of controller 2, each with a path that failed and one more."""
    Secret.unlock(Fernet.generate_key())
    made = Database(f"sqlite:///{tmp_path}/state.db")
    made.upgrade()
    with made.session() as session:
        session.add(Subsystem(name="source", iqn_prefix="iqn.2026-11.org.qreplica"))
        group = RaidGroup(name="rg1", level=RaidLevel.JBOD, usable=1 << 30, reserve=0)
        session.add(group)
        session.flush()
        vd = VirtualDisk(name="v", type=VdType.RAID, size=4096, raid_group_id=group.id, serial="v")
        session.add(vd)
        session.flush()
        for controller, name in enumerate("ab", 1):
            paths = [
                JobPath(
                    position=0, address=f"192.0.2.{controller}", state=PathState.FAILED, reason="r", since=LONG_AGO
                ),
                JobPath(position=1, address=f"192.0.2.1{controller}"),
            ]
            facts = {"target_subsystem": "7" * 32, "target_node": f"iqn.{name}", "target_lun": 1, "target_size": 4096}
            ids = {"target_vd": "8" * 32, "target_serial": "s"}
            session.add(Job(name=name, source_vd_id=vd.id, controller=controller, paths=paths, **facts, **ids))
    yield made
    made.dispose()


def states(database: Database) -> dict[str, tuple[PathState, str | None]]:
    with database.session(read_only=True) as session:
        return {path.address: (path.state, path.reason) for path in session.scalars(select(JobPath))}


class Network:
    """Answers probes; ``dead`` addresses do not."""

    def __init__(self, *dead: str) -> None:
        self.dead = set(dead)
        self.probed: list[str] = []

    def probe(self, target: Target, way: Way) -> None:
        assert target.job_name in {"a", "b"}
        self.probed.append(way.address)
        if way.address in self.dead:
            raise PortalUnreachable(portal=way.portal, reason="the test says so")


def test_only_failed_paths_of_ones_own_jobs_are_probed(database: Database) -> None:
    network = Network()
    prober = PathProber(database, 1, lambda: [1], probe=network.probe)
    prober.round()
    assert network.probed == ["192.0.2.1"]
    found = states(database)
    assert found["192.0.2.1"] == (PathState.STANDBY, None)
    assert found["192.0.2.2"] == (PathState.FAILED, "r")
    with database.session(read_only=True) as session:
        (event,) = session.scalars(select(Event))
    assert (event.kind, event.subject, event.controller) == ("path-standby", "job a", 1)
    assert "192.0.2.1:3260 works again" in event.message
    prober.round()
    assert network.probed == ["192.0.2.1"]


def test_the_jobs_that_were_taken_over_are_ones_own(database: Database) -> None:
    network = Network("192.0.2.1")
    PathProber(database, 2, lambda: [1, 2], probe=network.probe).round()
    assert sorted(network.probed) == ["192.0.2.1", "192.0.2.2"]
    found = states(database)
    assert found["192.0.2.1"] == (PathState.FAILED, "r")
    assert found["192.0.2.2"] == (PathState.STANDBY, None)


def test_a_path_that_failed_anew_meanwhile_is_left_so(database: Database) -> None:
    def probe(_target: Target, way: Way) -> None:
        with database.session() as session:
            path = session.scalars(select(JobPath).where(JobPath.address == way.address)).one()
            path.since, path.reason = datetime.now(UTC), "again"

    PathProber(database, 1, lambda: [1], probe=probe).round()
    assert states(database)["192.0.2.1"] == (PathState.FAILED, "again")


def test_a_path_that_is_removed_meanwhile_is_nobodys_business(database: Database) -> None:
    def probe(_target: Target, way: Way) -> None:
        with database.session() as session:
            session.delete(session.scalars(select(JobPath).where(JobPath.address == way.address)).one())

    PathProber(database, 1, lambda: [1], probe=probe).round()
    assert "192.0.2.1" not in states(database)


def test_it_looks_again_and_again_until_it_is_stopped(database: Database) -> None:
    network = Network("192.0.2.1")
    prober = PathProber(database, 1, lambda: [1], every=0.01, probe=network.probe)
    prober.start()
    try:
        eventually(lambda: len(network.probed) >= 3)
        network.dead.clear()
        eventually(lambda: states(database)["192.0.2.1"][0] is PathState.STANDBY)
    finally:
        prober.stop()
    prober.stop()
    assert not prober._thread.is_alive()
