"""Both controllers of a subsystem on one machine: one database, the same RGs, a target daemon each."""

import contextlib
import fcntl
import os
import random
import signal
import sqlite3

import pytest

from qreplica.daemon.asking import serving_lock
from qreplica.daemon.config import load
from qreplica.daemon.file_lock import holding
from qreplica.iscsi.target.pause import stopped
from qreplica.state.lock_holder import holder

from .running import Controller, clean_up, eventually, gone, identity, loops, provision

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


def test_what_is_attached_by_one_is_there_by_the_other_when_the_answer_comes(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    first.start()
    second.start()
    iqn = provision(first)
    with second.log_in(iqn) as host:
        assert host.report_luns() == [0, 1]
        first.call("DELETE", "/luns/hosts/1", expect=204)
        assert host.report_luns() == [0]
        for number in (1, 2, 3):
            first.call("POST", "/luns", {"node": "hosts", "vd": "v1"}, expect=201)
            assert host.report_luns() == [0, 1], number
            first.call("DELETE", "/luns/hosts/1", expect=204)


def test_one_that_cannot_follow_is_not_waited_for_without_end(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.start()
    second.start()
    iqn = provision(first)
    with second.log_in(iqn) as host:
        with holding(serving_lock(load(second.config).tgtd_pid_file)):
            first.call("DELETE", "/luns/hosts/1", expect=204)
            with first.log_in(iqn) as other:
                assert (other.report_luns(), host.report_luns()) == ([0], [0, 1])
        assert eventually(lambda: host.report_luns() == [0])


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


def test_one_that_stops_while_it_writes_the_state_is_killed_by_the_other(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    # So that it is met in the middle of one soon.
    second.config.write_text(second.text() + "[cluster]\nheartbeat_seconds = 0.01\n")
    first.start()
    second.start()
    first.set_up()
    database = first.directory / "state" / "qreplica.db"

    def stops_in_the_middle() -> bool:
        os.kill(second.pid, signal.SIGSTOP)
        eventually(lambda: stopped(second.pid))
        if holder(database) == second.pid:
            return True
        os.kill(second.pid, signal.SIGCONT)
        return False

    eventually(stops_in_the_middle)
    assert second.process is not None
    assert second.process.wait(60) == -signal.SIGKILL
    told = eventually(lambda: [one for one in first.call("GET", "/events") if one["kind"] == "state-lock-broken"])
    assert f"process {second.pid} (the daemon of controller 2)" in told[0]["message"]
    assert (told[0]["severity"], told[0]["controller"]) == ("error", 1)
    eventually(lambda: first.call("GET", "/controllers")[1]["standing"] == "taken-over")
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as state:
        assert state.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    second.start()
    eventually(lambda: first.call("GET", "/controllers")[1]["standing"] == "online")
