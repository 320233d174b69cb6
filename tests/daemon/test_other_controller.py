"""Cutting owners off on the other controller, whose target daemon is a real one here."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.daemon.other_controller import OtherController, OtherTargetHangs
from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.state.database import Database
from qreplica.state.models import Subsystem

pytestmark = pytest.mark.root
SPEC = NodeSpec(77, "iqn.2026-11.org.qreplica:source.b")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'qreplica.db'}")
    made.upgrade()
    with made.session() as session:
        session.add(Subsystem(name="source", iqn_prefix="iqn.2026-11.org.qreplica"))
        session.flush()
        nodes.create(session, name="b")
    yield made
    made.dispose()


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "2.pid"


@pytest.fixture
def other(database: Database, pid_file: Path) -> OtherController:
    return OtherController(database, 2, pid_file)


@pytest.fixture
def tgtd(pid_file: Path) -> Iterator[TargetProcess]:
    """The other controller's tgtd, which serves a node."""
    management = Management(20_000 + os.getpid() % 10_000)
    process = TargetProcess(management, pid_file, lambda _: None)
    process.start()
    TgtDriver(management).apply_node(SPEC)
    yield process
    process.kill()


@pytest.mark.parametrize("step", ["fence", "remove", "apply"])
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_its_target_daemon_has_ended_on_return(
    other: OtherController, tgtd: TargetProcess, step: str, state: str
) -> None:
    pid = tgtd.pid
    assert pid is not None
    if state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    if step == "fence":
        other.fence_node(SPEC, 10)
    elif step == "remove":
        other.remove_node(SPEC.iqn)
    else:
        other.apply_node(SPEC)
    # Nobody has reaped it yet, but it runs no more.
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    other.fence_node(SPEC, 10)


def test_one_that_does_not_run_needs_no_fence(other: OtherController, pid_file: Path) -> None:
    other.fence_node(SPEC, 10)
    pid_file.write_text("no number")
    other.fence_node(SPEC, 10)
    with subprocess.Popen(["true"]) as ended:
        pass
    pid_file.write_text(f"{ended.pid}\n")
    other.fence_node(SPEC, 10)


def test_a_process_that_is_no_target_daemon_is_left_alone(other: OtherController, pid_file: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        pid_file.write_text(f"{bystander.pid}\n")
        other.fence_node(SPEC, 10)
        assert bystander.poll() is None
        bystander.kill()


def test_one_that_does_not_end_is_told_of(
    other: OtherController, tgtd: TargetProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreplica.daemon.other_controller.signal.pidfd_send_signal", lambda *_: None)
    with pytest.raises(OtherTargetHangs, match=rf"controller 2 \(process {tgtd.pid}\) was killed and has not ended"):
        other.fence_node(SPEC, 0.05)


def test_it_serves_what_the_database_says(other: OtherController, database: Database) -> None:
    with database.session(read_only=True) as session:
        node = nodes.get(session, "b")
    assert other.nodes() == {node.iqn: node.tid}
