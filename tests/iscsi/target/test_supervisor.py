"""The supervisor: restarts, holds, wakes, and takes its tgtd with it."""

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.errors import TargetDaemonFailed
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.supervisor import Events, Supervisor
from qreplica.iscsi.target.tgt import TgtDriver

pytestmark = pytest.mark.root


class Recorder(Events):
    """Keeps what happened in order."""

    def __init__(self) -> None:
        self.happened: queue.Queue[tuple[str, Any]] = queue.Queue()

    def started(self) -> None:
        self.happened.put(("started", None))

    def ended(self, error: QReplicaError | None) -> None:
        self.happened.put(("ended", error))

    def woken(self, seconds: float) -> None:
        self.happened.put(("woken", seconds))

    def next(self) -> tuple[str, Any]:
        return self.happened.get(timeout=30)


@pytest.fixture
def events() -> Recorder:
    return Recorder()


@pytest.fixture
def supervise(management: Management, tmp_path: Path, events: Recorder) -> Iterator[Callable[..., Supervisor]]:
    made = []

    def make(**options: float) -> Supervisor:
        supervisor = Supervisor(management, tmp_path / "tgtd.pid", events, **options)
        made.append(supervisor)
        supervisor.start()
        return supervisor

    yield make
    for supervisor in made:
        supervisor.close()


def test_a_killed_tgtd_is_started_again(supervise: Any, events: Recorder) -> None:
    supervisor = supervise()
    assert events.next() == ("started", None)
    first = supervisor.pid
    os.kill(first, signal.SIGKILL)
    assert events.next() == ("ended", None)
    assert events.next() == ("started", None)
    assert supervisor.pid not in {None, first}


def test_close_ends_the_tgtd(supervise: Any, events: Recorder) -> None:
    supervisor = supervise()
    events.next()
    pid = supervisor.pid
    supervisor.close()
    supervisor.close()
    assert not psutil.pid_exists(pid)
    assert supervisor.pid is None
    assert events.happened.empty()


def test_while_held_none_runs(supervise: Any, events: Recorder) -> None:
    supervisor = supervise()
    events.next()
    pid = supervisor.pid
    supervisor.hold()
    supervisor.hold()
    assert not psutil.pid_exists(pid)
    assert supervisor.pid is None
    assert events.happened.empty()
    supervisor.release()
    assert events.next() == ("started", None)
    assert supervisor.pid not in {None, pid}


def test_a_hold_fails_while_a_write_hangs(
    supervise: Any,
    events: Recorder,
    management: Management,
    hanging_write: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only when the kernel has let go of the process may another controller take over."""
    monkeypatch.setattr("qreplica.iscsi.target.process._END_TIMEOUT", 0.3)
    supervisor = supervise()
    events.next()
    with hanging_write(TgtDriver(management), supervisor.pid) as let_it_end:
        with pytest.raises(TargetDaemonFailed, match="does not end"):
            supervisor.hold()
        let_it_end()
        supervisor.hold()
        assert supervisor.pid is None


def test_a_start_that_fails_is_tried_again(
    supervise: Any, events: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tgtd"
    program.write_text("#!/bin/sh\necho cannot do it\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    supervise()
    what, error = events.next()
    assert what == "ended"
    assert isinstance(error, TargetDaemonFailed)
    program.unlink()
    while what == "ended":
        what, _ = events.next()
    assert what == "started"


def test_a_forgotten_tgtd_is_woken(supervise: Any, events: Recorder) -> None:
    supervisor = supervise(forgotten_after=0.3)
    events.next()
    os.kill(supervisor.pid, signal.SIGSTOP)
    what, seconds = events.next()
    assert what == "woken"
    assert seconds > 0.3
    assert psutil.Process(supervisor.pid).status() != psutil.STATUS_STOPPED


def test_a_short_pause_is_left_alone(supervise: Any, events: Recorder) -> None:
    supervisor = supervise(forgotten_after=0.5)
    events.next()
    for _ in range(4):
        os.kill(supervisor.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(supervisor.pid, signal.SIGCONT)
        time.sleep(0.2)
    assert events.happened.empty()
