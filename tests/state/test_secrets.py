"""The key file: made once, read by root only."""

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qreplica.state import secrets
from qreplica.state.secrets import SecretsKeyUnusable
from qreplica.state.types import Secret

Start = Callable[..., "subprocess.Popen[str]"]


def stored(value: str) -> bytes:
    made = Secret().process_bind_param(value, None)  # type: ignore[arg-type] # the dialect is not looked at
    assert made is not None
    return made


def test_a_key_is_made_once_for_root_alone(tmp_path: Path) -> None:
    secrets.unlock(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key, encrypted = file.read_bytes(), stored("a text")
    secrets.unlock(tmp_path)
    assert file.read_bytes() == key
    assert Secret().process_result_value(encrypted, None) == "a text"  # type: ignore[arg-type] # as above


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secrets.unlock(tmp_path)
    file = tmp_path / "secrets.key"
    file.chmod(mode)
    with pytest.raises(SecretsKeyUnusable, match="others than its owner"):
        secrets.unlock(tmp_path)
    file.chmod(0o600)
    secrets.unlock(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 44, b"A" * 45])
def test_what_is_no_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secrets.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SecretsKeyUnusable, match="does not hold a key"):
        secrets.unlock(tmp_path)
    assert file.read_bytes() == content


@pytest.mark.parametrize("obstacle", ["directory", "missing"])
def test_a_key_that_cannot_be_read_or_made_is_told_of(tmp_path: Path, obstacle: str) -> None:
    if obstacle == "directory":
        (tmp_path / "secrets.key").mkdir(mode=0o700)
        place = tmp_path
    else:
        place = tmp_path / "nowhere"
    with pytest.raises(SecretsKeyUnusable, match=r"secrets\.key cannot be used because"):
        secrets.unlock(place)


_UNLOCK = """
import sys
from pathlib import Path
from qreplica.state import secrets
from qreplica.state.types import Secret
sys.stdin.readline()
secrets.unlock(Path(sys.argv[1]))
print(Secret().process_bind_param("a text", None).decode())
"""


def test_processes_that_make_it_at_once_agree(tmp_path: Path, other_process: Start) -> None:
    processes = [other_process(_UNLOCK, tmp_path) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    encrypted = [process.communicate(timeout=60)[0].strip().encode() for process in processes]
    secrets.unlock(tmp_path)
    for one in encrypted:
        assert Secret().process_result_value(one, None) == "a text"  # type: ignore[arg-type] # as above
    assert [file.name for file in tmp_path.iterdir()] == ["secrets.key"]
