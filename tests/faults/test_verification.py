"""Bits of a copy are flipped behind everybody's back, on real parts: found, repaired, and every byte compared."""

import subprocess
from pathlib import Path

import pytest

from qreplica.units import MIB

from ..daemon.running import eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import Replication

pytestmark = pytest.mark.root

_BLOCKS = (0, 300, 301, 16_384 + 7)
_BLOCK = 4096


def flip(file: Path) -> None:
    with file.open("r+b") as content:
        for block in _BLOCKS:
            content.seek(block * _BLOCK + 17)
            (byte,) = content.read(1)
            content.seek(-1, 1)
            content.write(bytes([byte ^ 0x10]))


def test_flipped_bits_are_found_named_and_sent_again(replication: Replication) -> None:
    source, target = replication.source, replication.target
    replication.host_writes((0, 16), (64, 16))
    replication.start()
    replication.until("idle")
    point = target.call("GET", "/recovery-points/b1")[-1]
    snapshot = target.call("GET", f"/snapshots/b1/{point['name']}")["id"]
    frozen = next(target.directory.glob(f"state/rg/*/vds/*/snapshots/{snapshot}/disk"))
    live = next(target.directory.glob("state/rg/*/vds/*/live/disk"))
    subprocess.run(["btrfs", "property", "set", frozen.parent, "ro", "false"], check=True)
    flip(frozen)
    subprocess.run(["btrfs", "property", "set", frozen.parent, "ro", "true"], check=True)
    flip(live)

    place = "/jobs/nightly/verification"
    source.call("POST", place, {}, expect=202)
    # It goes on after its daemon was killed.
    source.kill()
    source.start()
    found = eventually(lambda: (one := source.call("GET", place))["state"] == "differs" and one)
    named = [(one["offset"], one["length"]) for one in found["differing"]]
    assert named == [(0, _BLOCK), (300 * _BLOCK, 2 * _BLOCK), (64 * MIB + 7 * _BLOCK, _BLOCK)]
    (told,) = [one for one in source.call("GET", "/events") if one["kind"] == "copy-differs"]
    assert told["severity"] == "error"

    source.call("POST", f"{place}/repair", expect=202)
    cycle = replication.until("idle")["cycle"]
    assert (cycle["kind"], cycle["total_bytes"]) == ("incremental", len(_BLOCKS) * _BLOCK)
    replication.check_copy()
    assert source.call("GET", place)["state"] == "repaired"
    source.call("POST", place, {}, expect=202)
    found = eventually(lambda: (one := source.call("GET", place))["state"] != "running" and one)
    assert (found["state"], found["size"]) == ("passed", replication.size)
