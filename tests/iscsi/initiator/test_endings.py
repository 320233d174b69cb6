"""How sessions end: tgtd killed, stopped, cut off; and what is left behind: nothing."""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qreplica.iscsi.errors import NodeUnknown, PortalUnreachable, SessionLost
from qreplica.iscsi.initiator import Buffer, Completion, KeepAlive, Portal, Session, discover
from qreplica.units import KIB, MIB

pytestmark = pytest.mark.root

IQN = "iqn.2024-05.com.example:backup"
INITIATOR = "iqn.2024-05.com.example:initiator"
SOON = KeepAlive(interval=0.2, intervals=2)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fill(session: Session, count: int) -> Buffer:
    buffer = Buffer(256 * KIB)
    session.most_zeros(1)  # meets the LUN, which needs a target that answers
    for tag in range(count):
        session.submit_write(tag, 1, tag * 256 * KIB, buffer, 256 * KIB)
    return buffer


def collect_all(session: Session) -> list[Completion]:
    ended: list[Completion] = []
    while session.in_flight:
        ended += session.poll(30.0)
    return ended


def assert_all_lost(ended: list[Completion], count: int, reason: str) -> None:
    assert sorted(completion.tag for completion in ended) == list(range(count))
    for completion in ended:
        assert isinstance(completion.error, SessionLost)
        assert reason in str(completion.error)


def test_a_killed_target_ends_every_write_in_flight(session: Session, target: Any) -> None:
    session.capacity(1)
    target.tgtd.signal(signal.SIGSTOP)
    fill(session, 32)
    target.tgtd.signal(signal.SIGKILL)
    target.tgtd.process.wait()
    assert_all_lost(collect_all(session), 32, "the connection")
    calls: list[Callable[[], object]] = [
        lambda: session.poll(10.0),
        session.ping,
        lambda: session.read(1, 0, 512),
        lambda: session.flush(1),
        lambda: session.submit_flush(1, 1),
        lambda: session.submit_write(1, 1, 0, Buffer(512), 512),
    ]
    for call in calls:
        with pytest.raises(SessionLost, match=IQN):
            call()


def test_a_lost_session_does_not_come_back_with_its_target(target: Any) -> None:
    session = Session.connect(target.portal, IQN, INITIATOR)
    session.write(1, 0, b"1" * 512)
    target.tgtd.stop()
    target.tgtd.start()
    target.tgtd.add_node(1, IQN)
    target.tgtd.add_lun(1, 1, target.file)
    for _ in range(3):
        with pytest.raises(SessionLost):
            session.write(1, 0, b"2" * 512)
    session.logout()
    with Session.connect(target.portal, IQN, INITIATOR) as again:
        assert again.read(1, 0, 512) == b"1" * 512


def test_a_stopped_target_is_noticed_by_the_keep_alive(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, keep_alive=SOON) as session:
        buffer = fill(session, 4)
        collect_all(session)
        target.tgtd.signal(signal.SIGSTOP)
        for tag in range(8):
            session.submit_write(tag, 1, 0, buffer, 4 * KIB)
        assert_all_lost(collect_all(session), 8, "stopped answering")
        with pytest.raises(SessionLost, match="stopped answering"):
            session.poll(10.0)


def test_an_idle_session_is_kept_alive_and_its_end_is_noticed(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, keep_alive=SOON) as session:
        assert session.poll(1.5) == []
        session.ping()
        target.tgtd.signal(signal.SIGSTOP)
        with pytest.raises(SessionLost, match="stopped answering"):
            session.poll(30.0)


def test_a_caller_that_was_away_for_long_loses_nothing(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, keep_alive=SOON, command_timeout=0.3) as session:
        fill(session, 4)
        time.sleep(0.7)
        assert [completion.error for completion in collect_all(session)] == [None] * 4
        time.sleep(0.7)
        session.ping()


def test_a_command_without_an_answer_ends_the_session(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, command_timeout=0.3) as session:
        session.capacity(1)
        target.tgtd.signal(signal.SIGSTOP)
        session.submit_write(0, 1, 0, Buffer(512), 512)
        assert_all_lost(collect_all(session), 1, "not answered in time")


def test_what_a_lost_session_had_not_sent_is_thrown_away(target: Any) -> None:
    def connections() -> list[str]:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return [line for line in lines if line.split()[2].endswith(f":{target.tgtd.port:04X}")]

    with Session.connect(target.portal, IQN, INITIATOR, command_timeout=0.3) as session:
        session.capacity(1)
        target.tgtd.signal(signal.SIGSTOP)
        fill(session, 100)
        session.poll(0.0)
        assert len(connections()) == 1
        assert_all_lost(collect_all(session), 100, "not answered in time")
        assert connections() == []


def test_a_whole_call_ends_when_the_target_stops(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, keep_alive=SOON) as session:
        session.capacity(1)
        target.tgtd.signal(signal.SIGSTOP)
        with pytest.raises(SessionLost, match="stopped answering"):
            session.flush(1)


def test_a_login_that_a_stopped_target_does_not_answer_ends(target: Any) -> None:
    target.tgtd.signal(signal.SIGSTOP)
    with pytest.raises(PortalUnreachable, match=r"not answered within 0.5 s"):
        Session.connect(target.portal, IQN, INITIATOR, timeout=0.5)
    with pytest.raises(PortalUnreachable, match=r"not answered within 0.5 s"):
        discover(target.portal, INITIATOR, timeout=0.5)


def test_a_connection_that_nobody_accepts_ends() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.socket() as first, socket.socket() as second:
            for waiting in (first, second):
                waiting.setblocking(False)  # noqa: FBT003 - the standard library's signature
                waiting.connect_ex(("127.0.0.1", port))
            with pytest.raises(PortalUnreachable, match=r"within 0.5 s"):
                Session.connect(Portal("127.0.0.1", port), IQN, INITIATOR, timeout=0.5)


def test_a_session_that_the_target_cuts_off_stays_off(session: Session, target: Any) -> None:
    session.capacity(1)
    shown = target.tgtd.admin("--mode", "conn", "--op", "show", "--tid", "1")
    sid = shown.split("Session:")[1].split()[0]
    target.tgtd.admin("--mode", "target", "--op", "unbind", "--tid", "1", "-I", "ALL")
    target.tgtd.admin("--mode", "conn", "--op", "delete", "--tid", "1", "--sid", sid, "--cid", "0")
    with pytest.raises(SessionLost, match=r"closed the connection|reset|broken pipe"):
        session.read(1, 0, 512)
    with pytest.raises(NodeUnknown):
        Session.connect(target.portal, IQN, INITIATOR)


def test_leaving_the_block_with_commands_in_flight_is_clean(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        fill(session, 64)
    with Session.connect(target.portal, IQN, INITIATOR, keep_alive=SOON) as session:
        fill(session, 64)
        target.tgtd.signal(signal.SIGSTOP)
    target.tgtd.signal(signal.SIGCONT)


def test_a_signal_handler_runs_while_we_wait(target: Any) -> None:
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.current_thread().name))
    try:
        with Session.connect(target.portal, IQN, INITIATOR) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            session.poll(0.3)
            signal.setitimer(signal.ITIMER_REAL, 0)
            session.ping()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "MainThread" in seen


class Interrupted(Exception):
    pass


def test_an_interrupted_call_leaves_its_memory_to_the_answer(target: Any) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Session.connect(target.portal, IQN, INITIATOR) as session:
            session.write(1, 0, b"r" * 256 * KIB)
            target.tgtd.signal(signal.SIGSTOP)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                session.read(1, 0, 256 * KIB)
            others = [bytearray(256 * KIB) for _ in range(8)]
            target.tgtd.signal(signal.SIGCONT)
            assert session.read(1, 0, 512) == b"r" * 512
            assert session.poll(0.1) == []
            assert all(other == bytes(256 * KIB) for other in others)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_waiting_lets_other_threads_run(target: Any) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    with Session.connect(target.portal, IQN, INITIATOR) as session:
        thread = threading.Thread(target=tick)
        thread.start()
        try:
            session.poll(0.3)
        finally:
            done.set()
            thread.join()
    assert ticks > 10


def test_sockets_are_closed_however_a_session_ends(target: Any) -> None:
    before = open_files()
    for _ in range(3):
        with Session.connect(target.portal, IQN, INITIATOR):
            assert open_files() == before + 1
        with pytest.raises(NodeUnknown):
            Session.connect(target.portal, IQN + "x", INITIATOR)
        with pytest.raises(PortalUnreachable):
            Session.connect(Portal("127.0.0.1", 1), IQN, INITIATOR)
        discover(target.portal, INITIATOR)
        forgotten = Session.connect(target.portal, IQN, INITIATOR)
        del forgotten
        gc.collect()
    assert open_files() == before


def test_a_socket_is_not_inherited(target: Any) -> None:
    before = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    with Session.connect(target.portal, IQN, INITIATOR):
        for entry in list(Path("/proc/self/fd").iterdir()):
            if entry.exists() and int(entry.name) not in before:
                assert not os.get_inheritable(int(entry.name))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_the_commands(session: Session) -> None:
    buffers = [Buffer(4 * KIB) for _ in range(32)]

    def run(rounds: int) -> None:
        for _ in range(rounds):
            for tag, buffer in enumerate(buffers):
                session.submit_write(tag, 1, tag * 4 * KIB, buffer, 4 * KIB)
            collect_all(session)
        for _ in range(rounds):
            session.read(1, 0, 4 * KIB)
            session.inquiry(1)

    run(100)
    before = resident()
    run(600)
    # A leaked task of libiscsi is some 300 bytes: 20,000 of them would be 6 MB.
    assert resident() - before < 2 * MIB


def test_memory_does_not_grow_with_failing_commands(session: Session) -> None:
    def run(rounds: int) -> None:
        for _ in range(rounds):
            with pytest.raises(Exception, match="unknown command"):
                session.capacity(0)

    run(200)
    before = resident()
    run(3000)
    assert resident() - before < 2 * MIB
