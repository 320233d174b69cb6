"""A program of the engine that goes on though the process that ran it was killed."""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.units import MIB

pytestmark = pytest.mark.root

#: Stands for the kernel taking its time over what it was asked for.
_SLOW = """#!/bin/sh
case "$*" in *"{at}"*)
  echo $$ >{reached}.new
  mv {reached}.new {reached}
  while [ -e {gate} ]; do sleep 0.01; done
esac
exec {real} "$@"
"""


class Orphan:
    """A ``btrfs`` that waits before it begins, and whose parent was killed."""

    def __init__(self, folder: Path, at: str, call: str, mounts: Path) -> None:
        self._gate, reached = folder / "gate", folder / "reached"
        self._gate.touch()
        program = folder / "btrfs"
        program.write_text(_SLOW.format(at=at, reached=reached, gate=self._gate, real=shutil.which("btrfs")))
        program.chmod(0o755)
        code = f"""
from pathlib import Path
from qreplica.storage.btrfs import BtrfsDriver
BtrfsDriver(Path({str(mounts)!r})).{call}
"""
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": f"{folder}:{os.environ['PATH']}"}
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
            while not reached.exists():
                assert parent.poll() is None
                threading.Event().wait(0.01)
            parent.send_signal(signal.SIGKILL)
        self._pidfd = os.pidfd_open(int(reached.read_text()))

    def let_go(self) -> None:
        """Let it begin."""
        self._gate.unlink(missing_ok=True)

    def wait(self) -> None:
        """Wait for its end."""
        assert select.select([self._pidfd], [], [], 60)[0]

    def close(self) -> None:
        self.let_go()
        self.wait()
        os.close(self._pidfd)


@pytest.fixture
def orphan(tmp_path: Path, place: Path) -> Iterator[Callable[[str, str], Orphan]]:
    made: list[Orphan] = []

    def make(at: str, call: str) -> Orphan:
        made.append(Orphan(tmp_path, at, call, place / "rg"))
        return made[0]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Does something in a thread of its own, which must have ended well by the end of the test."""
    failures: list[BaseException] = []

    def run(what: Callable[[], object]) -> threading.Thread:
        def body() -> None:
            try:
                what()
            except BaseException as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    yield run
    assert failures == []


def test_a_snapshot_still_being_taken_is_deleted_after_it(
    btrfs: BtrfsDriver, rg: str, orphan: Callable[[str, str], Orphan], meanwhile: Callable[..., threading.Thread]
) -> None:
    """What a start clears away does not come back by what the daemon before had begun."""
    btrfs.create_vd(rg, "v1", MIB)
    left = orphan("subvolume snapshot", f"take_snapshot({rg!r}, 'v1', 's1')")
    clearing = meanwhile(lambda: btrfs.delete_snapshot(rg, "v1", "s1"))
    clearing.join(0.3)
    left.let_go()
    clearing.join()
    left.wait()
    assert btrfs.list_snapshots(rg, "v1") == []
    btrfs.take_snapshot(rg, "v1", "s1")


def test_a_snapshot_still_being_taken_does_not_hold_up_another(
    btrfs: BtrfsDriver, rg: str, orphan: Callable[[str, str], Orphan]
) -> None:
    btrfs.create_vd(rg, "v2", MIB)
    left = orphan("subvolume snapshot", f"take_snapshot({rg!r}, 'v2', 's1')")
    btrfs.take_snapshot(rg, "v2", "s2")
    assert [one.snapshot for one in btrfs.list_snapshots(rg, "v2")] == ["s2"]
    left.let_go()
    btrfs.delete_snapshot(rg, "v2", "s1")
    assert [one.snapshot for one in btrfs.list_snapshots(rg, "v2")] == ["s2"]


def test_what_is_half_made_is_cleared_away_after_it(
    btrfs: BtrfsDriver,
    rg: str,
    place: Path,
    orphan: Callable[[str, str], Orphan],
    meanwhile: Callable[..., threading.Thread],
) -> None:
    btrfs.create_vd(rg, "v3", MIB)
    btrfs.take_snapshot(rg, "v3", "s1")
    left = orphan("subvolume snapshot", f"roll_back({rg!r}, 'v3', 's1')")
    opening = meanwhile(lambda: btrfs.open_group(rg, []))
    opening.join(0.3)
    left.let_go()
    opening.join()
    left.wait()
    assert {entry.name for entry in (place / "rg" / rg / "vds" / "v3").iterdir()} == {"live", "snapshots"}
