"""The management protocol: errors are told apart, and no secret is in one."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qreplica.iscsi.target.errors import (
    TargetAnswerUnknown,
    TargetCommandFailed,
    TargetDaemonDown,
    TargetDaemonSilent,
)
from qreplica.iscsi.target.mgmt import Management, Mode, Op, Refusal


@pytest.fixture
def false_daemon(management: Management, tmp_path: Path) -> Iterator[Callable[[bytes | None], None]]:
    """Answer one request with given bytes and hang up; None hangs up only when the test ends."""
    management.socket_path = tmp_path / "socket"
    ended = threading.Event()
    threads = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(management.socket_path))
        listener.listen()

        def answer_with(answer: bytes | None) -> None:
            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(8192)
                    if answer is None:
                        ended.wait(30)
                    else:
                        connection.sendall(answer)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()

        yield answer_with
        ended.set()
        for thread in threads:
            thread.join()


def test_nobody_there(management: Management) -> None:
    with pytest.raises(TargetDaemonDown, match=str(management.control_port)):
        management.request(Mode.SYSTEM, Op.SHOW)


def test_a_daemon_that_says_nothing(management: Management, false_daemon: Any) -> None:
    false_daemon(None)
    with pytest.raises(TargetDaemonSilent, match="system show"):
        management.request(Mode.SYSTEM, Op.SHOW, timeout=0.1)


def test_a_daemon_that_dies_before_it_answers(management: Management, false_daemon: Any) -> None:
    for answer in (b"", b"\0\0\0", struct.pack("=II", 0, 100) + b"half"):
        false_daemon(answer)
        with pytest.raises(TargetDaemonDown):
            management.request(Mode.SYSTEM, Op.SHOW, timeout=5)


@pytest.mark.parametrize("length", [0, 7, 2**31])
def test_an_answer_of_impossible_length(management: Management, false_daemon: Any, length: int) -> None:
    false_daemon(struct.pack("=II", 0, length))
    with pytest.raises(TargetAnswerUnknown, match=str(length)):
        management.request(Mode.SYSTEM, Op.SHOW, timeout=5)


def test_an_answer_in_pieces(management: Management, false_daemon: Any) -> None:
    false_daemon(struct.pack("=II", 0, 8 + 5) + b"text\0")
    assert management.request(Mode.SYSTEM, Op.SHOW, timeout=5) == "text"


def test_a_refusal_of_a_kind_we_do_not_know(management: Management, false_daemon: Any) -> None:
    false_daemon(struct.pack("=II", 99, 8))
    with pytest.raises(TargetCommandFailed) as refused:
        management.request(Mode.SYSTEM, Op.SHOW, timeout=5)
    assert refused.value.fields["code"] is Refusal.UNKNOWN_ERROR


@pytest.mark.root
def test_a_refusal_names_the_reason_and_no_secret(tgtd: Any) -> None:
    tgtd.management.request(Mode.ACCOUNT, Op.NEW, "user=host,password=hush-hush-hush")
    with pytest.raises(TargetCommandFailed, match="account exists") as refused:
        tgtd.management.request(Mode.ACCOUNT, Op.NEW, "user=host,password=hush-hush-hush")
    assert refused.value.fields["code"] is Refusal.ACCOUNT_EXISTS
    assert "hush" not in str(refused.value)
    with pytest.raises(TargetCommandFailed, match="no target"):
        tgtd.management.request(Mode.TARGET, Op.DELETE, tid=5)


@pytest.mark.root
def test_a_long_answer_comes_whole(tgtd: Any) -> None:
    for tid in range(1, 501):
        tgtd.management.request(Mode.TARGET, Op.NEW, f"targetname=iqn.2026-11.org.qreplica:n{tid}", tid=tid)
    assert len(tgtd.driver.nodes()) == 500


@pytest.mark.root
def test_several_threads_at_once(tgtd: Any) -> None:
    answers = []

    def ask() -> None:
        answers.extend(tgtd.management.request(Mode.SYSTEM, Op.SHOW) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 400
    assert len(set(answers)) == 1
