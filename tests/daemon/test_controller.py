"""A whole controller: what hosts see of it while parts of it die."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

from qreplica.iscsi.errors import CommandFailed, NodeUnknown, SessionLost
from qreplica.iscsi.initiator import Portal, Session
from qreplica.units import GIB, MIB

from .running import HOST, SOURCE, Controller, clean_up, eventually, gone, identity, provision

pytestmark = pytest.mark.root
OTHER = "iqn.2026-11.org.example:other"


def test_a_killed_controller_comes_back_with_the_same_disk_and_bytes(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    data = random.Random(1).randbytes(3 * MIB)
    with controller.log_in(iqn) as session:
        before = identity(session)
        session.write(1, 5 * MIB, data)
        session.flush(1)
        tgtd = controller.tgtd()
        controller.kill()
        assert gone(tgtd)
    controller.start()
    with controller.log_in(iqn) as session:
        assert identity(session) == before
        assert session.read(1, 5 * MIB, len(data)) == data
        assert session.read(1, 0, MIB) == bytes(MIB)
        with pytest.raises(NodeUnknown):
            Session.connect(Portal("127.0.0.1", controller.iscsi_port), iqn, OTHER)
    assert controller.call("GET", "/raid-groups/rg1")["health"] == "online"


def test_a_killed_target_daemon_comes_back_configured(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    with controller.log_in(iqn) as session:
        before = identity(session)
        session.write(1, 0, b"kept" * 1024)
        session.flush(1)
    first = controller.tgtd()
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    with controller.log_in(iqn) as session:
        assert identity(session) == before
        assert session.read(1, 0, 4096) == b"kept" * 1024
    assert controller.tgtd() != first
    kinds = [event["kind"] for event in controller.call("GET", "/events")]
    assert "target-daemon-ended" in kinds


def test_told_to_end_it_ends_and_leaves_no_process(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    children = list(controller.children())
    assert children
    with controller.log_in(iqn):
        assert controller.terminate() == 0
    assert all(gone(pid) for pid in children)
    assert not controller.ready
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", controller.peer_port))
    controller.start()
    controller.log_in(iqn).logout()


def test_a_snapshot_is_taken_with_the_real_pause_and_shown_read_only(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    with controller.log_in(iqn) as session:
        session.write(1, 0, b"old!" * 1024)
        snapshot = controller.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
        session.write(1, 0, b"new!" * 1024)
        controller.call("POST", "/luns", {"node": "hosts", "vd": "v1", "number": 2, "snapshot": "s1"}, expect=201)
        assert session.read(2, 0, 4096) == b"old!" * 1024
        assert session.read(1, 0, 4096) == b"new!" * 1024
        with pytest.raises(CommandFailed, match="the LUN is read-only"):
            session.write(2, 0, bytes(4096))
        assert session.serial(2) == snapshot["id"] != session.serial(1)
    controller.call("DELETE", "/snapshots/v1/s1", expect=409)
    controller.call("DELETE", "/luns/hosts/2", expect=204)
    controller.call("DELETE", "/snapshots/v1/s1", expect=204)


def test_a_backup_vd_is_shown_to_nobody_before_a_claim(controller: Controller) -> None:
    controller.start()
    provision(controller)
    controller.call(
        "POST", "/virtual-disks", {"name": "b1", "raid_group": "rg1", "size": "16MiB", "type": "BACKUP"}, expect=201
    )
    iqn = controller.call("POST", "/nodes", {"name": "backups"}, expect=201)["iqn"]
    with controller.log_in(iqn) as early:
        assert early.report_luns() == [0]
        controller.call("POST", "/luns", {"node": "backups", "vd": "b1"}, expect=201)
        with pytest.raises(SessionLost):
            early.write(1, 0, bytes(4096))
    with pytest.raises(NodeUnknown):
        Session.connect(Portal("127.0.0.1", controller.iscsi_port), iqn, HOST)


def test_a_second_daemon_of_the_controller_does_not_start(controller: Controller) -> None:
    controller.start()
    tgtd = controller.tgtd()
    second = subprocess.run(
        [sys.executable, "-m", "qreplica.daemon", "--config", str(controller.config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert second.returncode == 4
    assert f"is run by process {controller.pid} already" in second.stderr
    assert controller.ready
    assert controller.tgtd() == tgtd


def test_a_controller_counts_up_while_it_lives(controller: Controller) -> None:
    controller.start()

    def heartbeat() -> int:
        with sqlite3.connect(f"file:{controller.directory}/state/qreplica.db?mode=ro", uri=True) as state:
            (count,) = state.execute("SELECT heartbeat FROM controllers WHERE number = 1").fetchone()
        state.close()
        return int(count)

    first = heartbeat()
    assert eventually(lambda: heartbeat() > first + 1)


def test_a_disk_that_is_gone_degrades_and_serves(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    with controller.log_in(iqn) as session:
        session.write(1, 0, b"kept" * 1024)
        session.flush(1)
    assert controller.terminate() == 0
    clean_up(controller.directory)
    (controller.directory / "1.img").rename(controller.directory / "1.away")
    controller.start()
    with controller.log_in(iqn) as session:
        assert session.read(1, 0, 4096) == b"kept" * 1024
    group = controller.call("GET", "/raid-groups/rg1")
    assert (group["health"], group["missing_disks"]) == ("degraded", 1)
    assert "disk-image-missing" in [event["kind"] for event in controller.call("GET", "/events")]


def start_failing(controller: Controller, text: str) -> subprocess.CompletedProcess[str]:
    controller.config.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "qreplica.daemon", "--config", str(controller.config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def test_an_address_in_use_is_told_of_in_one_sentence(controller: Controller) -> None:
    port = controller.listener.getsockname()[1]
    done = start_failing(controller, controller.text(management=f"127.0.0.1:{port}"))
    assert done.returncode == 2
    assert done.stderr.strip().endswith("or end what listens there.")
    assert "Traceback" not in done.stderr
    assert not controller.ready


def test_a_wrong_configuration_is_told_of_in_one_sentence(controller: Controller) -> None:
    done = start_failing(controller, controller.text(controller=3))
    assert done.returncode == 2
    assert "cannot be used because controller: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_state_is_for_root_alone(controller: Controller) -> None:
    controller.start()
    provision(controller)
    for path in [controller.directory / "state", controller.run]:
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (controller.directory / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert (controller.directory / "1.img").stat().st_size == 2 * GIB
