"""Loop devices of images, on real ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.storage import loop_devices
from qreplica.units import MIB

pytestmark = pytest.mark.root
SOURCE = Path(__file__).parents[3] / "src"
_ATTACH = """
import sys
from pathlib import Path
from qreplica.storage import loop_devices
sys.stdin.readline()
print(loop_devices.attach(Path(sys.argv[1])))
"""


def devices(image: Path) -> list[str]:
    shown = ["losetup", "--noheadings", "--output", "NAME", "--associated", str(image)]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "disk.img"
    with file.open("wb") as stream:
        stream.truncate(8 * MIB)
    yield file
    for device in devices(file):
        subprocess.run(["losetup", "--detach", device], check=True)


def test_controllers_that_start_at_once_share_one_device(image: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ATTACH, str(image)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    made = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(made) == 1
    assert devices(image) == sorted(made)


def test_it_is_detached_once_and_may_be_attached_again(image: Path) -> None:
    first = loop_devices.attach(image)
    assert loop_devices.attached(image) == first
    assert loop_devices.attach(image) == first
    loop_devices.detach(image)
    loop_devices.detach(image)
    assert loop_devices.attached(image) is None
    assert devices(image) == []
    assert str(loop_devices.attach(image)) in devices(image)
