"""What is made of a change list that btrfs will not or cannot give."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.storage import btrfs_send
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.errors import DeltaStreamBroken, DeltaStreamUnknown
from qreplica.units import MIB

pytestmark = pytest.mark.root


@pytest.fixture
def vd(btrfs: BtrfsDriver, rg: str) -> Iterator[str]:
    btrfs.create_vd(rg, "sent", MIB)
    yield "sent"
    btrfs.delete_vd(rg, "sent")


def test_what_the_program_said_is_told(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    btrfs.take_snapshot(rg, vd, "s")
    live = btrfs.vd_path(rg, vd)
    with pytest.raises(DeltaStreamBroken, match="not read-only"):
        btrfs_send.changes(btrfs.snapshot_path(rg, vd, "s"), live)
    with pytest.raises(DeltaStreamBroken, match="gone"):
        btrfs_send.changes(btrfs.snapshot_path(rg, vd, "s"), live.parent.parent / "snapshots/gone/disk")


def test_a_second_file_is_not_guessed_about(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    btrfs.take_snapshot(rg, vd, "s1")
    (btrfs.vd_path(rg, vd).parent / "stray").write_bytes(b"x")
    btrfs.take_snapshot(rg, vd, "s2")
    with pytest.raises(DeltaStreamUnknown, match="command"):
        btrfs.delta(rg, vd, "s1", "s2")


def test_a_program_that_fails_after_a_whole_stream_is_told(
    btrfs: BtrfsDriver, rg: str, vd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s1", "s2"):
        btrfs.take_snapshot(rg, vd, name)
    fake = tmp_path / "btrfs"
    real = shutil.which("btrfs")
    fake.write_text(f'#!/bin/sh\n{real} "$@"\necho >&2 so it goes\nexit 3\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DeltaStreamBroken, match="ended with status 3 so it goes"):
        btrfs_send.changes(btrfs.snapshot_path(rg, vd, "s1"), btrfs.snapshot_path(rg, vd, "s2"))
