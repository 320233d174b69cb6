"""A sweep takes everything of its own and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qreplica.lab import namespaces, storage_left
from qreplica.lab.commands import inside, run
from qreplica.lab.errors import SweepIncomplete
from qreplica.lab.owner import Owner, make_owned
from qreplica.lab.processes import MARK
from qreplica.lab.storage_left import loops_below, mounts
from qreplica.lab.sweep import sweep, sweep_dead, sweep_directory
from qreplica.lab.topology import TESTS, Lab
from qreplica.units import MIB

pytestmark = pytest.mark.root


def start(argv: list[str], **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, env={**os.environ, **environment}, start_new_session=True)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.wait(10) is not None


def disown(directory: Path, owner: Owner) -> None:
    (directory / "owner").write_text(f"{owner.pid} {owner.ticks}\n")


def attach(directory: Path) -> tuple[Path, Path]:
    """Put a mounted filesystem on a loop device below ``directory``; return device and mount point."""
    image, point = directory / "disk image", directory / "mount point"
    with image.open("xb") as file:
        file.truncate(16 * MIB)
    device = run(["losetup", "--find", "--show", str(image)]).strip()
    run(["mkfs.ext4", "-q", device])
    point.mkdir()
    run(["mount", device, str(point)])
    return Path(device), point


def test_everything_of_a_lab_goes(network: Lab, tmp_path: Path) -> None:
    device, point = attach(network.directory)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(["mount", str(device), str(elsewhere)])
    by_mark = start([*inside(network.host, "sleep", "600")], **{MARK: str(network.directory)})
    by_namespace = start(inside(network.switch, "env", "-i", "sleep", "600"))
    holding = start(["tail", "-f", str(point)], **{MARK: f"{network.directory}/source"})
    stopped = start(["sleep", "600"], **{MARK: str(network.directory)})
    stopped.send_signal(signal.SIGSTOP)

    sweep(network)

    assert all(map(ended, (by_mark, by_namespace, holding, stopped)))
    assert namespaces.existing(network) == []
    assert loops_below(network.directory) == []
    assert {point, elsewhere}.isdisjoint(mount.point for mount in mounts())
    assert not network.directory.exists()


def test_it_can_be_done_again_and_of_nothing(lab: Lab) -> None:
    sweep(lab)
    sweep(lab)
    assert not lab.directory.exists()


def test_an_image_deleted_while_attached_is_found(network: Lab) -> None:
    device, point = attach(network.directory)
    run(["umount", str(point)])
    (network.directory / "disk image").unlink()
    sweep(network)
    assert device not in loops_below(network.directory)


def test_others_stay(network: Lab, lab: Lab) -> None:
    other = Lab(f"{lab.id}y", TESTS)
    make_owned(other.directory)
    bystander = start(["sleep", "600"], **{MARK: str(other.directory)})
    careless = start(["tail", "-f", str(network.directory / "owner")], **{MARK: "/elsewhere"})
    try:
        device, point = attach(other.directory)
        sweep(network)
        assert bystander.poll() is None
        assert careless.poll() is None
        assert loops_below(other.directory) == [device]
        assert point in {mount.point for mount in mounts()}
    finally:
        careless.kill()
        careless.wait()
        sweep(other)
        bystander.wait()


def test_a_daemon_may_end_in_order_and_the_rest_is_killed(lab: Lab) -> None:
    make_owned(lab.directory)
    config, note = lab.directory / "controller1.toml", lab.directory.with_name(f"{lab.id}.note")
    program = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit()))\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
        "signal.pause()"
    )
    ready = lab.directory / "ready"
    argv = [sys.executable, "-c", program, str(note), str(ready), "--config", str(config)]
    daemon = start(argv, **{MARK: str(lab.directory)})
    deaf = start(["sh", "-c", "trap '' TERM; sleep 600"], **{MARK: str(lab.directory)})
    until(ready.exists)
    sweep(lab)
    assert daemon.wait(10) == 0
    assert deaf.wait(10) == -signal.SIGKILL
    assert note.exists()
    note.unlink()


def test_a_sockets_living_owner_keeps_it(lab: Lab, tmp_path: Path) -> None:
    make_owned(lab.directory)
    (lab.directory / "source").mkdir()
    sockets = Path("/var/run/tgtd")
    dead, living = 32_000 + os.getpid() % 300, 32_301 + os.getpid() % 300
    for number in (dead, living):
        (lab.directory / "source" / f"controller{number}.toml").write_text(f"tgt_control_port = {number}\n")
    (lab.directory / "source" / "controller0.toml").write_text("half wri")
    tgtd = start(["tgtd", "-f", "-C", str(living), "--iscsi", "portal=127.0.0.1:0"], **{MARK: str(tmp_path)})
    try:
        until((sockets / f"socket.{living}").exists)
        (sockets / f"socket.{dead}").touch()
        (sockets / f"socket.{dead}.lock").touch()
        sweep(lab)
        assert list(sockets.glob(f"socket.{dead}*")) == []
        assert tgtd.poll() is None
        assert (sockets / f"socket.{living}").exists()
    finally:
        tgtd.kill()
        tgtd.wait()
        for file in sockets.glob(f"socket.{living}*"):
            file.unlink()


def test_the_tgtd_of_a_killed_test_run_goes_with_its_socket(run_directory: Path) -> None:
    directory = run_directory / "killed"
    make_owned(directory)
    number = 31_000 + os.getpid() % 900
    tgtd = start(["tgtd", "-f", "-C", str(number), "--iscsi", "portal=127.0.0.1:0"], **{MARK: str(directory)})
    until(Path(f"/var/run/tgtd/socket.{number}").exists)
    sweep_directory(directory)
    assert tgtd.wait(10) == -signal.SIGKILL
    assert list(Path("/var/run/tgtd").glob(f"socket.{number}*")) == []


def test_the_dead_are_swept_and_the_living_and_the_kept_stay(tmp_path: Path, dead_owner: Owner) -> None:
    names = {name: tmp_path / name for name in ("dead", "alive", "kept", "dead-run.1")}
    for directory in names.values():
        make_owned(directory)
    disown(names["dead"], dead_owner)
    disown(names["dead-run.1"], dead_owner)
    (names["kept"] / "owner").unlink()
    unfinished = tmp_path / f".x.{dead_owner.pid}.{dead_owner.ticks}"
    unfinished.mkdir()
    process = start(["sleep", "600"], **{MARK: str(names["dead"])})

    assert set(sweep_dead((tmp_path,))) == {names["dead"], names["dead-run.1"], unfinished}

    assert ended(process)
    assert {entry.name for entry in tmp_path.iterdir()} == {"alive", "kept"}


def test_a_launcher_at_work_is_ended_first(lab: Lab) -> None:
    launcher = start(["sleep", "600"])
    make_owned(lab.directory)
    ticks = int(Path(f"/proc/{launcher.pid}/stat").read_text().rpartition(")")[2].split()[19])
    disown(lab.directory, Owner(launcher.pid, ticks))
    sweep(lab)
    assert launcher.wait(10) == -signal.SIGKILL


def test_a_directory_in_use_is_unmounted_when_its_user_goes(network: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_left, "_PATIENCE", 0.3)
    device, point = attach(network.directory)
    user = subprocess.Popen(["sleep", "600"], cwd=point, env={})
    with pytest.raises(SweepIncomplete, match="in use"):
        sweep(network)
    assert user.poll() is None
    user.kill()
    user.wait()
    until(lambda: device not in loops_below(network.directory))
    assert point not in {mount.point for mount in mounts()}
