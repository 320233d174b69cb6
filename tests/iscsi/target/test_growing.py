"""A LUN whose file grows while hosts use it."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qreplica.iscsi.initiator import Buffer, Portal, Session
from qreplica.iscsi.target import luns as luns_module
from qreplica.iscsi.target.driver import LunSpec, NodeSpec

pytestmark = pytest.mark.root
HOST = "iqn.2026-11.org.qreplica:host"
KIB, MIB = 1024, 1024**2
BLOCK, DEPTH = 16 * KIB, 16


@pytest.fixture
def spec(tgtd: Any, node: Callable[..., NodeSpec]) -> NodeSpec:
    """A node that is there and reachable."""
    made = node()
    tgtd.driver.apply_node(made)
    tgtd.open()
    return made


def connect(tgtd: Any, spec: NodeSpec) -> Session:
    return Session.connect(Portal(*tgtd.address), spec.iqn, HOST)


def grow(tgtd: Any, spec: NodeSpec, size: int) -> None:
    os.truncate(spec.luns[0].path, size)
    tgtd.driver.apply_node(spec)


class Writer:
    """A host that keeps many writes in flight, each block with its number, and notes which were acknowledged."""

    def __init__(self, session: Session, blocks: int) -> None:
        self.acknowledged: dict[int, int] = {}
        self.failures: list[Exception] = []
        self._count = 0
        self._session = session
        self._blocks = blocks
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ending.set()
            self._thread.join()

    def go_on(self) -> None:
        """Wait until as many writes again as are in flight are acknowledged, or one has failed."""
        until, deadline = self._count + 2 * DEPTH, time.monotonic() + 60
        while self._count < until and not self.failures:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _run(self) -> None:
        buffers = [Buffer(BLOCK) for _ in range(DEPTH)]
        flying: dict[int, tuple[int, Buffer]] = {}
        number = 0
        while not self._ending.is_set() or flying:
            while buffers and not self._ending.is_set():
                number += 1
                buffer = buffers.pop()
                buffer.view[:BLOCK] = number.to_bytes(8, "big") * (BLOCK // 8)
                self._session.submit_write(number, 1, number % self._blocks * BLOCK, buffer, BLOCK)
                flying[number] = (number, buffer)
            for tag, error in self._session.poll(0.1):
                done, buffer = flying.pop(tag)
                buffers.append(buffer)
                if error is not None:
                    self.failures.append(error)
                    self._ending.set()
                else:
                    self._count += 1
                    place = done % self._blocks
                    self.acknowledged[place] = max(self.acknowledged.get(place, 0), done)


def test_hosts_see_more_room_and_keep_their_sessions(tgtd: Any, spec: NodeSpec) -> None:
    with connect(tgtd, spec) as session:
        session.write(1, 0, b"old" * 4096)
        before = tgtd.driver.sessions(spec.iqn)
        grow(tgtd, spec, 96 * MIB)
        assert session.capacity(1).size == 96 * MIB
        assert session.read(1, 0, 3 * 4096) == b"old" * 4096
        assert session.read(1, 64 * MIB, 4 * MIB) == bytes(4 * MIB)
        session.write(1, 92 * MIB, b"new!" * 1024)
        session.flush(1)
        assert tgtd.driver.sessions(spec.iqn) == before
    with spec.luns[0].path.open("rb") as file:
        file.seek(92 * MIB)
        assert file.read(4096) == b"new!" * 1024


def test_no_write_fails_or_is_lost_while_it_grows(tgtd: Any, spec: NodeSpec) -> None:
    blocks = 32 * MIB // BLOCK
    with connect(tgtd, spec) as session:
        writer = Writer(session, blocks)
        before = tgtd.driver.sessions(spec.iqn)
        with writer.writing():
            for size in range(65, 73):
                grow(tgtd, spec, size * MIB)
        assert writer.failures == []
        assert tgtd.driver.sessions(spec.iqn) == before
        assert session.capacity(1).size == 72 * MIB
    with spec.luns[0].path.open("rb") as file:
        for place, number in writer.acknowledged.items():
            file.seek(place * BLOCK)
            assert file.read(BLOCK) == number.to_bytes(8, "big") * (BLOCK // 8)


def test_other_luns_of_the_node_are_served_on(
    tgtd: Any, node: Callable[..., NodeSpec], lun: Callable[..., LunSpec]
) -> None:
    spec = node(luns=(lun(1), lun(2)))
    tgtd.driver.apply_node(spec)
    tgtd.open()
    with connect(tgtd, spec) as session:
        session.write(2, 0, b"two!" * 1024)
        grow(tgtd, spec, 80 * MIB)
        assert session.read(2, 0, 4096) == b"two!" * 1024
        assert (session.capacity(1).size, session.capacity(2).size) == (80 * MIB, 64 * MIB)


def test_where_hosts_cannot_be_held_the_lun_is_still_made_anew(
    tgtd: Any, spec: NodeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_: int) -> None:
        raise PermissionError(errno.EPERM, "not allowed")

    monkeypatch.setattr(luns_module, "held", forbidden)
    with connect(tgtd, spec) as session:
        session.write(1, 0, b"old" * 4096)
        grow(tgtd, spec, 80 * MIB)
        assert session.capacity(1).size == 80 * MIB
        assert session.read(1, 0, 3 * 4096) == b"old" * 4096


def test_a_command_that_hangs_does_not_hold_the_hosts_for_ever(
    tgtd: Any, spec: NodeSpec, hanging_write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sessions are ended then, which waits for the command."""
    del spec
    monkeypatch.setattr(luns_module, "_HOLD_PATIENCE", 0.05)
    pid = tgtd.process.pid
    with hanging_write(tgtd.driver, pid) as release:
        name, tid = next(iter(tgtd.driver.nodes().items()))
        found = tgtd.driver.sessions(name)
        assert len(found) == 1
        attachment = tgtd.driver._made[name].luns[1]
        assert not luns_module.attach_grown(tgtd.management, tid, name, attachment, "")
        assert tgtd.driver.sessions(name) == found
        release()
