"""Both controllers of a subsystem on one machine: one database, the same RGs, a target daemon each."""

import fcntl
import random

import pytest

from .running import Controller, clean_up, gone, identity, loops, provision

pytestmark = pytest.mark.root


def test_controllers_that_start_at_once_are_one_subsystem(pair: tuple[Controller, Controller]) -> None:
    """From nothing, and again when all is there: key, tables, loop devices, mounts, each is made by either."""
    for one in pair:
        one.begin()
    for one in pair:
        one.wait_until_ready()
    first, second = pair
    iqn = provision(first)
    second.http.headers["Authorization"] = first.http.headers["Authorization"]
    assert [one["number"] for one in second.call("GET", "/controllers")] == [1, 2]
    assert [event for event in first.call("GET", "/events") if event["severity"] != "info"] == []
    with first.log_in(iqn) as session:
        session.write(1, 0, b"kept" * 1024)
        session.flush(1)
    for one in pair:
        one.kill()
    clean_up(first.directory)
    for one in pair:
        one.begin()
    for one in pair:
        one.wait_until_ready()
    assert [len(loops(image)) for image in first.directory.glob("*.img")] == [1, 1]
    for one in pair:
        with one.log_in(iqn) as session:
            assert session.read(1, 0, 4096) == b"kept" * 1024
        assert one.call("GET", "/raid-groups/rg1")["health"] == "online"


def test_a_disk_is_the_same_by_both_and_outlives_either(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.start()
    second.start()
    iqn = provision(first)
    data = random.Random(2).randbytes(1 << 20)
    with first.log_in(iqn) as session, second.log_in(iqn) as other:
        assert identity(other) == identity(session)
        session.write(1, 0, data)
        assert other.read(1, 0, len(data)) == data
        tgtd = first.tgtd()
        first.kill()
        assert gone(tgtd)
        other.write(1, 0, data[::-1])
        other.flush(1)
        first.start()
        with first.log_in(iqn) as again:
            assert again.read(1, 0, len(data)) == data[::-1]


def test_a_snapshot_waits_for_the_other_target_daemon_too(pair: tuple[Controller, Controller]) -> None:
    """What another pause holds cannot be made to stand still: then there is no snapshot, and nothing of one."""
    first, second = pair
    first.start()
    second.start()
    provision(first)
    with (first.directory / "state" / "tgtd" / "2.pid.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problem = first.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=503)
        assert "2.pid" in problem["detail"]
    assert first.call("GET", "/snapshots") == []
    first.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
