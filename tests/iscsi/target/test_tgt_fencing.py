"""Rule 4: after a fence nothing of an old session can write, whatever it was doing."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qreplica.iscsi.target.driver import LunSpec, NodeSpec
from qreplica.iscsi.target.errors import FencingTimedOut
from qreplica.iscsi.target.mgmt import Mode, Op

pytestmark = pytest.mark.root
OLD = "iqn.2026-11.org.qreplica:job-1:e1"
NEW = "iqn.2026-11.org.qreplica:job-1:e2"
NEW_TID = 0x0BCD_EF02


def digest(spec: NodeSpec) -> str:
    return hashlib.sha256(spec.luns[0].path.read_bytes()).hexdigest()


@pytest.fixture
def epoch1(tgtd: Any, node: Callable[..., NodeSpec]) -> NodeSpec:
    spec = node(initiators=frozenset({OLD}))
    tgtd.driver.apply_node(spec)
    tgtd.open()
    return spec


@pytest.fixture
def epoch2(epoch1: NodeSpec) -> NodeSpec:
    return replace(epoch1, tid=NEW_TID, initiators=frozenset({NEW}))


def test_in_flight_writes_are_over_when_the_fence_returns(
    tgtd: Any, hammer: Any, epoch1: NodeSpec, epoch2: NodeSpec
) -> None:
    with tgtd.initiator(epoch1.iqn, OLD) as initiator:
        old = hammer(initiator.log_in(), 1, epoch1.luns[0].path.stat().st_size)
        assert old.busy.wait(10)
        tgtd.driver.fence_node(epoch2, 10)
        before = digest(epoch1)
        assert old.ended.wait(10)
        time.sleep(1)
        assert digest(epoch1) == before
    assert tgtd.driver.sessions(epoch1.iqn) == []


def test_the_fence_waits_for_a_write_that_hangs(
    tgtd: Any, node: Callable[..., NodeSpec], lun: Callable[..., LunSpec], freezable: Any
) -> None:
    path = freezable.mount / "vd"
    path.write_bytes(bytes(1024**2))
    spec = node(initiators=frozenset({OLD}), luns=(lun(path=path),))
    fenced = replace(spec, tid=NEW_TID, initiators=frozenset({NEW}))
    tgtd.driver.apply_node(spec)
    tgtd.open()
    with tgtd.initiator(spec.iqn, OLD) as initiator:
        initiator.log_in().test_unit_ready(1)
        freezable.freeze()
        initiator.send_write(1, 0, b"x" * 4096)
        with pytest.raises(FencingTimedOut) as refused:
            tgtd.driver.fence_node(fenced, 0.3)
        assert refused.value.fields["count"] == 1
        assert len(tgtd.driver.sessions(spec.iqn)) == 1
        for name in (OLD, NEW):
            assert tgtd.inquire(tgtd.url(spec.iqn), name).returncode != 0
        freezable.thaw()
    tgtd.driver.fence_node(fenced, 10)
    assert path.read_bytes()[:4096] == b"x" * 4096  # begun before the fence, so it may have happened
    assert tgtd.driver.nodes() == {spec.iqn: NEW_TID}
    assert tgtd.inquire(tgtd.url(spec.iqn), NEW).returncode == 0


def test_a_half_done_login_dies_with_the_old_number(
    tgtd: Any, login_refused: Any, epoch1: NodeSpec, epoch2: NodeSpec
) -> None:
    with tgtd.initiator(epoch1.iqn, OLD) as initiator:
        initiator.begin_login()
        tgtd.driver.fence_node(epoch2, 10)
        with pytest.raises((login_refused, OSError)):
            initiator.finish_login()
    assert tgtd.driver.sessions(epoch1.iqn) == []


def test_a_login_finished_during_the_fence_is_ended_too(tgtd: Any, epoch1: NodeSpec, epoch2: NodeSpec) -> None:
    """Twenty half-done logins go on while the fence runs: none of them may have a session after it."""
    with contextlib.ExitStack() as stack:
        half_done = [stack.enter_context(tgtd.initiator(epoch1.iqn, OLD)) for _ in range(20)]
        for initiator in half_done:
            initiator.begin_login()

        def go_on() -> None:
            for initiator in half_done:
                with contextlib.suppress(Exception):
                    initiator.finish_login()

        thread = threading.Thread(target=go_on)
        thread.start()
        tgtd.driver.fence_node(epoch2, 10)
        thread.join()
        before = digest(epoch1)
        for initiator in half_done:
            with pytest.raises(OSError, match=r"."):
                initiator.write(1, 0, os.urandom(4096))
        assert digest(epoch1) == before
    assert tgtd.driver.sessions(epoch1.iqn) == []


def test_a_login_finished_at_the_last_moment_is_ended_too(
    tgtd: Any, epoch1: NodeSpec, epoch2: NodeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes a session after the last look at the sessions, just before the old node is deleted."""
    real = tgtd.management.request
    finished = []
    with tgtd.initiator(epoch1.iqn, OLD) as initiator:
        initiator.begin_login()

        def late(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
            if (mode, op) == (Mode.TARGET, Op.DELETE) and not finished:
                initiator.finish_login()
                finished.append(len(tgtd.driver.sessions(epoch1.iqn)))
            return real(mode, op, *arguments, **more)

        monkeypatch.setattr(tgtd.management, "request", late)
        tgtd.driver.fence_node(epoch2, 10)
        assert finished == [1]
        assert tgtd.driver.sessions(epoch1.iqn) == []
        with pytest.raises(OSError, match="ended"):
            initiator.test_unit_ready(1)


def test_half_a_write_is_not_finished_after_the_fence(tgtd: Any, epoch1: NodeSpec, epoch2: NodeSpec) -> None:
    with tgtd.initiator(epoch1.iqn, OLD) as initiator:
        initiator.log_in().test_unit_ready(1)
        rest = initiator.begin_write(1, 0, b"h" * 65536)
        before = digest(epoch1)
        tgtd.driver.fence_node(epoch2, 10)
        with contextlib.suppress(OSError):
            rest()
        with pytest.raises(OSError, match=r"."):
            initiator.receive_status()
    assert digest(epoch1) == before


def test_the_old_name_never_comes_back(tgtd: Any, login_refused: Any, epoch1: NodeSpec, epoch2: NodeSpec) -> None:
    """An initiator that logs in again and again with the old name, before, during and after the fence."""
    stop = threading.Event()
    fenced = threading.Event()
    logins_after = []

    def knock() -> None:
        while not stop.is_set():
            after = fenced.is_set()
            with contextlib.suppress(login_refused, OSError), tgtd.initiator(epoch1.iqn, OLD) as initiator:
                initiator.log_in()
                initiator.test_unit_ready(1)
                if after:
                    logins_after.append(initiator)

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    tgtd.driver.fence_node(epoch2, 10)
    fenced.set()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert logins_after == []
    assert tgtd.process.pid is not None


def test_a_stopped_initiator_that_wakes_cannot_write(
    tgtd: Any, hammer: Any, epoch1: NodeSpec, epoch2: NodeSpec
) -> None:
    """A process that writes is stopped with writes in flight, and goes on after the fence."""

    def write() -> None:
        hammer(tgtd.initiator(epoch1.iqn, OLD).log_in(), 1, 64 * 1024**2).ended.wait()

    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    try:
        wait_for(lambda: tgtd.driver.sessions(epoch1.iqn) != [])
        wait_for(lambda: tgtd.driver.counters(epoch1.iqn, 1).write_commands > 32)
        os.kill(writer.pid or 0, signal.SIGSTOP)
        tgtd.driver.fence_node(epoch2, 10)
        before = digest(epoch1)
        os.kill(writer.pid or 0, signal.SIGCONT)
        writer.join(10)  # it ends because its connection did
        assert writer.exitcode == 0
        assert tgtd.driver.sessions(epoch1.iqn) == []
        assert digest(epoch1) == before
    finally:
        writer.kill()
        writer.join()


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)
