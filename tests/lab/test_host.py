"""The host's program, against a tgtd of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qreplica.iscsi.errors import ChapRefused
from qreplica.lab import sparse
from qreplica.lab.host import INITIATOR, Request, perform
from qreplica.units import MIB

from ..ports import control_port, free_port  # noqa: TID252

pytestmark = pytest.mark.root

NODE = "iqn.2026-11.org.qreplica:test:disk"
USER, SECRET = "host", "quite a long secret"
SIZE = 64 * MIB


@dataclass
class Target:
    port: int
    disk: Path

    def request(self, verb: str, image: Path, **more: object) -> Request:
        values = {"address": "127.0.0.1", "port": self.port, "node": NODE, "chap_user": USER, "chap_secret": SECRET}
        return Request.model_validate({**values, "verb": verb, "image": image, **more})


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    port = free_port()
    control = str(control_port())
    disk = tmp_path / "disk"
    with disk.open("xb") as file:
        file.truncate(SIZE)

    def admin(*words: str) -> int:
        return subprocess.run(
            ["tgtadm", "-C", control, "--lld", "iscsi", *words], check=False, capture_output=True
        ).returncode

    with subprocess.Popen(["tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{port}"]) as tgtd:
        try:
            deadline = time.monotonic() + 20
            while admin("--mode", "sys", "--op", "show"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            lun = ("--mode", "logicalunit", "--tid", "1", "--lun", "1")
            for words in (
                ("--mode", "target", "--op", "new", "--tid", "1", "-T", NODE),
                ("--mode", "target", "--op", "bind", "--tid", "1", "-Q", INITIATOR),
                ("--mode", "account", "--op", "new", "--user", USER, "--password", SECRET),
                ("--mode", "account", "--op", "bind", "--tid", "1", "--user", USER),
                (*lun, "--op", "new", "-b", str(disk)),
                (*lun, "--op", "update", "--params", "thin_provisioning=1"),
            ):
                assert admin(*words) == 0, words
            yield Target(port, disk)
        finally:
            tgtd.kill()
            for left in Path("/var/run/tgtd").glob(f"socket.{control}*"):
                left.unlink()


def filled(file: Path, *ranges: tuple[int, int]) -> Path:
    with file.open("xb") as opened:
        opened.truncate(SIZE)
        for offset, length in ranges:
            os.pwrite(opened.fileno(), os.urandom(length), offset)
    return file


def test_an_image_is_written_without_its_holes(target: Target, tmp_path: Path) -> None:
    image = filled(tmp_path / "image", (4096, 3 * MIB), (40 * MIB, 4096), (SIZE - 8192, 8192))
    done = perform(target.request("write-image", image))
    assert done.bytes == 3 * MIB + 4096 + 8192
    assert target.disk.read_bytes() == image.read_bytes()
    assert target.disk.stat().st_blocks * 512 < 4 * MIB


def test_only_changes_are_sent_and_what_was_discarded_becomes_a_hole(target: Target, tmp_path: Path) -> None:
    older = filled(tmp_path / "older", (0, 8 * MIB), (20 * MIB, MIB))
    perform(target.request("write-image", older))
    newer = tmp_path / "newer"
    sparse.copy(older, newer)
    with newer.open("r+b") as file:
        os.pwrite(file.fileno(), os.urandom(12288), 4 * MIB)
        os.pwrite(file.fileno(), os.urandom(8192), 50 * MIB)
    subprocess.run(["fallocate", "-p", "-o", str(20 * MIB), "-l", str(MIB), str(newer)], check=True)
    blocks = target.disk.stat().st_blocks

    done = perform(target.request("apply-changes", newer, older=older))

    assert (done.bytes, done.unmapped_bytes) == (12288 + 8192, MIB)
    assert target.disk.read_bytes() == newer.read_bytes()
    assert target.disk.stat().st_blocks < blocks


def test_a_disk_is_read_back_as_it_is(target: Target, tmp_path: Path) -> None:
    image = filled(tmp_path / "image", (0, MIB), (33 * MIB, 12288))
    target.disk.write_bytes(image.read_bytes())
    done = perform(target.request("read-back", tmp_path / "copy"))
    assert done.bytes == SIZE
    assert (tmp_path / "copy").read_bytes() == image.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 2 * MIB


def test_a_wrong_secret_changes_nothing(target: Target, tmp_path: Path) -> None:
    image = filled(tmp_path / "image", (0, MIB))
    with pytest.raises(ChapRefused):
        perform(target.request("write-image", image, chap_secret="quite another secret"))
    assert target.disk.read_bytes() == bytes(SIZE)


def test_the_program_answers_in_json_and_fails_in_a_sentence(target: Target, tmp_path: Path) -> None:
    def ask(request: Request) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "qreplica.lab.host"]
        return subprocess.run(argv, input=request.model_dump_json(), capture_output=True, text=True, check=False)

    image = filled(tmp_path / "image", (0, MIB))
    done = ask(target.request("write-image", image))
    assert (done.returncode, done.stderr) == (0, "")
    assert f'"bytes":{MIB}' in done.stdout
    refused = ask(target.request("write-image", image, chap_secret="quite another secret"))
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "secret" not in refused.stderr.replace("CHAP name and secret", "").replace("CHAP secret", "")
