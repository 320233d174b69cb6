"""Rule 9: while paused nothing runs; a pause that was broken is noticed; everybody wakes at the end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.errors import PauseBusy, PauseTimedOut, TargetDaemonSilent
from qreplica.iscsi.target.mgmt import Management, Mode, Op
from qreplica.iscsi.target.pause import paused, running_tgtd, stopped
from qreplica.iscsi.target.process import TargetProcess

from ...ports import control_port  # noqa: TID252

pytestmark = pytest.mark.root
HOST = "iqn.2026-11.org.qreplica:host"


@pytest.fixture
def pid_file(tgtd: Any) -> Path:
    return tgtd.directory / "tgtd.pid"


@pytest.fixture
def second(tmp_path: Path) -> Iterator[TargetProcess]:
    """The other controller's tgtd."""
    (tmp_path / "second").mkdir()
    process = TargetProcess(Management(control_port()), tmp_path / "second" / "tgtd.pid", print)
    process.start()
    yield process
    process.kill()


def test_both_stand_still_and_wake(tgtd: Any, pid_file: Path, second: TargetProcess, tmp_path: Path) -> None:
    other = tmp_path / "second" / "tgtd.pid"
    with paused([pid_file, other]) as pause:
        assert stopped(tgtd.process.pid)
        assert stopped(second.pid or 0)
        with pytest.raises(TargetDaemonSilent):
            tgtd.management.request(Mode.SYSTEM, Op.SHOW, timeout=0.1)
        assert pause.still_paused()
    for process in (tgtd.process, second):
        process.management.request(Mode.SYSTEM, Op.SHOW)


def test_no_write_happens_or_is_acknowledged_meanwhile(
    tgtd: Any, pid_file: Path, hammer: Any, node: Callable[..., NodeSpec]
) -> None:
    spec = node()
    tgtd.driver.apply_node(spec)
    tgtd.open()
    with tgtd.initiator(spec.iqn, HOST) as initiator:
        writers = hammer(initiator.log_in(), 1, 64 * 1024**2)
        assert writers.busy.wait(10)
        for _ in range(3):
            with paused([pid_file]) as pause:
                writers.settle()
                acknowledged, content = writers.acknowledged, spec.luns[0].path.read_bytes()
                time.sleep(0.1)
                assert writers.acknowledged == acknowledged
                assert spec.luns[0].path.read_bytes() == content
                assert pause.still_paused()
        before = writers.acknowledged
        deadline = time.monotonic() + 10
        while writers.acknowledged == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_wake_up_in_between_is_noticed(tgtd: Any, pid_file: Path) -> None:
    with paused([pid_file]) as pause:
        os.kill(tgtd.process.pid, signal.SIGCONT)
        assert not pause.still_paused()


def test_a_wake_up_that_was_stopped_again_is_noticed(tgtd: Any, pid_file: Path) -> None:
    with paused([pid_file]) as pause:
        os.kill(tgtd.process.pid, signal.SIGCONT)
        tgtd.management.request(Mode.SYSTEM, Op.SHOW)
        os.kill(tgtd.process.pid, signal.SIGSTOP)
        while not stopped(tgtd.process.pid):
            time.sleep(0.001)
        assert not pause.still_paused()


def test_a_daemon_that_died_or_was_started_is_noticed(pid_file: Path, second: TargetProcess, tmp_path: Path) -> None:
    other = tmp_path / "second" / "tgtd.pid"
    with paused([pid_file, other]) as pause:
        second.kill()
        assert not pause.still_paused()
    with paused([pid_file, other]) as pause:
        assert pause.still_paused()
        second.start()
        assert not pause.still_paused()


def test_an_error_inside_wakes_all(tgtd: Any, pid_file: Path) -> None:
    with pytest.raises(RuntimeError, match="snapshot"), paused([pid_file]):
        raise RuntimeError("snapshot")
    tgtd.management.request(Mode.SYSTEM, Op.SHOW)


def test_a_hanging_write_times_the_pause_out_and_all_wake(
    tgtd: Any, pid_file: Path, second: TargetProcess, tmp_path: Path, hanging_write: Any
) -> None:
    with hanging_write(tgtd.driver, tgtd.process.pid) as let_it_end:
        with (
            pytest.raises(PauseTimedOut, match=str(tgtd.process.pid)),
            paused([tmp_path / "second" / "tgtd.pid", pid_file], timeout=0.3),
        ):
            pytest.fail("it was not paused")
        second.management.request(Mode.SYSTEM, Op.SHOW)
        tgtd.management.request(Mode.SYSTEM, Op.SHOW)
        let_it_end()
        with paused([pid_file]) as pause:
            assert pause.still_paused()


def test_two_pauses_wait_for_each_other(pid_file: Path) -> None:
    order = []

    def second_pause() -> None:
        with paused([pid_file], timeout=10) as pause:
            order.append(("second", pause.still_paused()))

    with paused([pid_file]) as pause:
        thread = threading.Thread(target=second_pause)
        thread.start()
        time.sleep(0.1)
        order.append(("first", pause.still_paused()))
    thread.join()
    assert order == [("first", True), ("second", True)]


def test_a_pause_that_never_ends_does_not_hold_up_the_next_for_ever(pid_file: Path) -> None:
    with paused([pid_file]), pytest.raises(PauseBusy), paused([pid_file], timeout=0.1):
        pytest.fail("it was paused twice")


def test_pid_files_that_mean_no_tgtd(tmp_path: Path) -> None:
    missing, garbage, foreign, dead = (tmp_path / name for name in ("missing", "garbage", "foreign", "dead"))
    garbage.write_text("12x\n")
    foreign.write_text(f"{os.getpid()}\n")
    dead.write_text("4194999\n")
    for pid_file in (missing, garbage, foreign, dead):
        assert running_tgtd(pid_file) is None
    with paused([missing, garbage, foreign, dead]) as pause:
        assert psutil.Process().status() != psutil.STATUS_STOPPED
        assert pause.still_paused()
