"""Programs, locks and errors in our words."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qreplica.storage.btrfs_locks import locked
from qreplica.storage.btrfs_tools import in_our_words, run
from qreplica.storage.errors import GroupFull, GroupLocked, StorageCommandFailed


def test_a_lock_is_waited_for_and_freed_by_death(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"""
from pathlib import Path
from qreplica.storage.btrfs_locks import locked
with locked(Path({str(lock)!r}), "g"):
    print("held", flush=True)
    input()
"""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(GroupLocked, match="RAID group g has been under change by another process for 0 s"):
            locked(lock, "g", patience=0.05).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(lock, "g", patience=5):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_a_full_group(number: int) -> None:
    with pytest.raises(GroupFull, match="RAID group g is full and refused to grow"), in_our_words("g", "to grow"):
        raise OSError(number, os.strerror(number))


def test_other_errors_name_the_operation_and_the_reason() -> None:
    with (
        pytest.raises(StorageCommandFailed, match=r"“to grow” failed .*Input/output error"),
        in_our_words("g", "to grow"),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_program_that_fails_or_is_missing_is_named() -> None:
    with pytest.raises(StorageCommandFailed, match=r"“ls /no/such” failed .*No such file"):
        run("ls", "/no/such")
    with pytest.raises(StorageCommandFailed, match="“no-such-program” failed"):
        run("no-such-program")
    with pytest.raises(GroupFull, match="RAID group g is full"):
        run("sh", "-c", "echo 'ERROR: No space left on device' >&2; exit 1", group="g")
