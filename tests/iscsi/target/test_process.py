"""A tgtd starts reachable by nobody, is always found again, and dies with its parent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qreplica.iscsi.target.errors import ControlPortTaken, TargetDaemonFailed
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.portals import listening
from qreplica.iscsi.target.process import TargetProcess, remove_socket
from qreplica.iscsi.target.tgt import TgtDriver

from ...ports import control_port  # noqa: TID252

pytestmark = pytest.mark.root


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def process(management: Management, tmp_path: Path, lines: list[str]) -> Iterator[TargetProcess]:
    made = TargetProcess(management, tmp_path / "tgtd.pid", lines.append)
    yield made
    made.kill()


@pytest.fixture
def orphan(management: Management) -> Iterator["subprocess.Popen[bytes]"]:
    """A tgtd on our control port that nobody supervises."""
    orphan = subprocess.Popen(
        ["tgtd", "-f", "-C", str(management.control_port), "--iscsi", "portal=127.0.0.1:0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(management.socket_path.exists)
    yield orphan
    with contextlib.suppress(ProcessLookupError):
        orphan.kill()
    orphan.wait()
    remove_socket(management)


def until(happens: Any) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listening_sockets(pid: int) -> list[Any]:
    connections = psutil.Process(pid).net_connections("tcp")
    return [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]


def test_it_listens_nowhere_after_the_start(process: TargetProcess, tmp_path: Path) -> None:
    process.start()
    assert process.pid is not None
    assert listening(process.management) == frozenset()
    assert listening_sockets(process.pid) == []
    assert (tmp_path / "tgtd.pid").read_text() == f"{process.pid}\n"


def test_a_stop_leaves_nothing(process: TargetProcess, tmp_path: Path, lines: list[str]) -> None:
    process.start()
    socket_path, pid = process.management.socket_path, process.pid
    assert pid is not None
    process.stop()
    process.stop()
    assert process.pid is None
    assert not psutil.pid_exists(pid)
    assert not [path for path in socket_path.parent.iterdir() if path.name.startswith(socket_path.name)]
    assert list(tmp_path.iterdir()) == []
    assert any("tgtd" in line for line in lines)


def test_it_stops_with_nodes_and_while_it_stands_still(tgtd: Any, node: Any) -> None:
    tgtd.driver.apply_node(node())
    pid = tgtd.process.pid
    os.kill(pid, signal.SIGSTOP)
    tgtd.process.stop()
    assert not psutil.pid_exists(pid)


def test_it_can_be_started_again(process: TargetProcess) -> None:
    process.start()
    first = process.pid
    process.kill()
    process.start()
    assert process.pid not in {None, first}


def test_one_that_could_not_be_ended_is_ended_before_the_next(
    process: TargetProcess, hanging_write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreplica.iscsi.target.process._END_TIMEOUT", 0.3)
    process.start()
    first = process.pid
    with hanging_write(TgtDriver(process.management), first) as let_it_end:
        for attempt in (process.kill, process.start):
            with pytest.raises(TargetDaemonFailed, match="hangs in the kernel"):
                attempt()
        assert process.pid == first
        let_it_end()
    process.start()
    assert process.pid not in {None, first}
    assert not psutil.pid_exists(first or 0)


def test_a_left_over_is_ended_first(process: TargetProcess, orphan: "subprocess.Popen[bytes]") -> None:
    process.start()
    assert orphan.wait(10) == -signal.SIGKILL
    assert process.pid is not None


def test_a_left_over_that_stands_still_too(process: TargetProcess, orphan: "subprocess.Popen[bytes]") -> None:
    orphan.send_signal(signal.SIGSTOP)
    process.start()
    assert orphan.wait(10) == -signal.SIGKILL


def test_another_control_port_is_left_alone(tmp_path: Path, orphan: "subprocess.Popen[bytes]") -> None:
    other = TargetProcess(Management(control_port()), tmp_path / "other.pid", print)
    other.start()
    other.kill()
    assert orphan.poll() is None


def test_what_holds_the_port_and_is_no_tgtd_is_named_and_not_killed(process: TargetProcess) -> None:
    lock_file = process.management.socket_path.with_name(f"{process.management.socket_path.name}.lock")
    lock_file.parent.mkdir(exist_ok=True)
    code = f"""
import fcntl, time
file = open({str(lock_file)!r}, "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ControlPortTaken, match=str(holder.pid)):
            process.start()
        assert holder.poll() is None
        holder.kill()
    lock_file.unlink()


def test_a_start_that_fails_says_why(process: TargetProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tgtd"
    program.write_text("#!/bin/sh\necho cannot do it\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TargetDaemonFailed, match="cannot do it"):
        process.start()
    assert process.pid is None


def test_it_dies_with_its_parent(management: Management, tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from qreplica.iscsi.target.mgmt import Management
        from qreplica.iscsi.target.process import TargetProcess
        process = TargetProcess(Management({management.control_port}), Path({str(tmp_path / "tgtd.pid")!r}), print)
        process.start()
        print("pid", process.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        pid = next(int(line.split()[1]) for line in parent.stdout if line.startswith("pid"))
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    process = TargetProcess(management, tmp_path / "tgtd.pid", print)
    process.start()
    process.kill()


def test_an_inherited_socket_does_not_stay_open_in_it(process: TargetProcess) -> None:
    """A listening socket that lived on in tgtd would make browsers hang once the daemon is dead."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        process.start()
        assert process.pid is not None
        assert listening_sockets(process.pid) == []
