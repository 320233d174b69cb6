"""Cutting owners off on the other controller, whose target daemon is a real one here."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qreplica.daemon.asking import serving_lock
from qreplica.daemon.file_lock import holding
from qreplica.daemon.other_controller import OtherController, OtherTargetHangs
from qreplica.iscsi import nodes
from qreplica.iscsi.errors import ChapRefused, SessionLost
from qreplica.iscsi.initiator import Chap, Portal, Session
from qreplica.iscsi.target.driver import Credentials, NodeSpec, PortalSpec
from qreplica.iscsi.target.errors import FencingTimedOut
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.state.database import Database
from qreplica.state.models import Subsystem

from ..ports import control_port, free_port  # noqa: TID252
from .running import HOST

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
    management = Management(control_port())
    process = TargetProcess(management, pid_file, lambda _: None)
    process.start()
    TgtDriver(management).apply_node(SPEC)
    yield process
    process.kill()


STEPS: dict[str, Callable[[OtherController], None]] = {
    "fence": lambda other: other.fence_node(SPEC, 10),
    "remove": lambda other: other.remove_node(SPEC.iqn),
    "apply": lambda other: other.apply_node(SPEC),
}


@pytest.mark.parametrize("step", STEPS)
def test_the_node_has_ended_on_return_and_others_go_on(
    other: OtherController, tgtd: TargetProcess, pid_file: Path, step: str
) -> None:
    driver = TgtDriver(tgtd.management)
    chap = Credentials("someone", "a-secret-of-theirs")
    driver.apply_node(replace(SPEC, initiators=None))
    driver.apply_node(NodeSpec(78, f"{SPEC.iqn}2", initiators=None, chap=chap))
    port = free_port()
    driver.set_portals(frozenset({PortalSpec("127.0.0.1", port)}))
    portal = Portal("127.0.0.1", port)
    theirs = Session.connect(portal, f"{SPEC.iqn}2", HOST, chap=Chap(chap.user, chap.secret))
    with theirs, Session.connect(portal, SPEC.iqn, HOST) as session:
        STEPS[step](other)
        with pytest.raises(SessionLost):
            session.ping()
        theirs.ping()
    assert driver.nodes() == {f"{SPEC.iqn}2": 78}
    # Its own daemon is asked to look, and makes it anew; the other node still asks for its secret.
    assert serving_lock(pid_file).exists()
    driver.apply_node(NodeSpec(79, SPEC.iqn))
    with pytest.raises(ChapRefused):
        Session.connect(portal, f"{SPEC.iqn}2", HOST)
    STEPS[step](other)
    STEPS[step](other)


@pytest.mark.parametrize("hangs", ["target daemon", "its daemon"])
@pytest.mark.parametrize("step", STEPS)
def test_where_something_hangs_the_target_daemon_has_ended_on_return(  # noqa: PLR0917 - fixtures
    other: OtherController,
    tgtd: TargetProcess,
    pid_file: Path,
    step: str,
    hangs: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qreplica.daemon.other_controller._GENTLE_SECONDS", 0.3)
    pid = tgtd.pid
    assert pid is not None
    with contextlib.ExitStack() as stack:
        if hangs == "its daemon":
            stack.enter_context(holding(serving_lock(pid_file)))
        else:
            os.kill(pid, signal.SIGSTOP)
        STEPS[step](other)
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
    monkeypatch.setattr("qreplica.daemon.other_controller.end_node", _hanging)
    monkeypatch.setattr("qreplica.daemon.other_controller.signal.pidfd_send_signal", lambda *_: None)
    with pytest.raises(OtherTargetHangs, match=rf"controller 2 \(process {tgtd.pid}\) was killed and has not ended"):
        other.fence_node(SPEC, 0.05)


def _hanging(*_: object) -> None:
    raise FencingTimedOut(iqn=SPEC.iqn, count=1, seconds=0.05)


def test_it_serves_what_the_database_says(other: OtherController, database: Database) -> None:
    with database.session(read_only=True) as session:
        node = nodes.get(session, "b")
    assert other.nodes() == {node.iqn: node.tid}
