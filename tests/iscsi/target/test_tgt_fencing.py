"""Rule 4: after a fence nothing of an old session can write, whatever it was doing."""

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qreplica.iscsi.target.driver import LunSpec, NodeSpec
from qreplica.iscsi.target.errors import FencingTimedOut

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


def test_a_login_finished_during_the_fence_is_ended_too(
    tgtd: Any, hammer: Any, epoch1: NodeSpec, epoch2: NodeSpec
) -> None:
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
            with pytest.raises(OSError, match="."):
                initiator.write(1, 0, os.urandom(4096))
        assert digest(epoch1) == before
    assert tgtd.driver.sessions(epoch1.iqn) == []


def test_the_old_name_never_comes_back(
    tgtd: Any, login_refused: Any, epoch1: NodeSpec, epoch2: NodeSpec
) -> None:
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


def test_a_stopped_initiator_that_wakes_cannot_write(tgtd: Any, epoch1: NodeSpec, epoch2: NodeSpec) -> None:
    """A real libiscsi client is stopped in the middle of its writes, and goes on after the fence."""
    writer = subprocess.Popen(
        ["iscsi-perf", "-i", OLD, "-m", "16", "-b", "8", "-r", "-t", "60", tgtd.url(epoch1.iqn)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not tgtd.driver.sessions(epoch1.iqn):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        writer.send_signal(signal.SIGSTOP)
        tgtd.driver.fence_node(epoch2, 10)
        before = digest(epoch1)
        writer.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        assert tgtd.driver.sessions(epoch1.iqn) == []
        assert digest(epoch1) == before
    finally:
        writer.kill()
        writer.wait()
