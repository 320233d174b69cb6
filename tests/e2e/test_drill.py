"""Drills, in short: the real lab, a host that writes all the while, and a comparison of bytes at the end."""

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from qreplica.drill import run as drills
from qreplica.drill.drills import NAMES, chosen
from qreplica.drill.errors import NeedsOwnLab, NoSuchDrill
from qreplica.drill.pattern import block_of, sequence_of
from qreplica.drill.stage import Stage
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine
from qreplica.lab.errors import LabMissing
from qreplica.lab.parts import Parts, kill
from qreplica.lab.topology import Lab, Side
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

pytestmark = [pytest.mark.root, pytest.mark.e2e]

#: Besides what is sent again, so much may have been on its way (bytes).
_IN_FLIGHT = 32 * MIB
_FILL = 512 * MIB


def test_a_controller_of_either_side_dies_in_a_cycle_and_then_the_whole_source(lab: Lab, observed: Any) -> None:
    told: list[str] = []
    names = ["target-controller-kill", "source-controller-kill", "promote-with-peer-dead", "planned-failover"]
    results = drills.in_own_lab(lab, names, told.append, fill=_FILL)
    *killed, promoted, planned = results
    for result in killed:
        assert result.wrong == ()
        assert result.resume_seconds is not None
        assert result.resent_bytes is not None
        # No checkpoint comes in so short a time, so that at most what was sent is sent again.
        assert 0 < result.resent_bytes <= _FILL + _IN_FLIGHT
        assert result.host_writes > 0
    for result in (promoted, planned):
        assert result.wrong == ()
        assert result.first_write_seconds is not None
    assert planned.host_writes > 0
    assert len([line for line in told if "every byte is right" in line]) == 4
    summary = json.loads(json.dumps(drills.as_json(results)))
    assert summary["ok"] is True
    assert [one["name"] for one in summary["drills"]] == names
    assert observed.remains() == []


def test_a_lab_that_is_up_is_as_it_was_after_a_drill_also_after_one_that_was_killed(lab: Lab, observed: Any) -> None:
    told: list[str] = []
    with labs.passing(lab, told.append):
        observed.note_ports()
        target = CommandLine(lab, Side.TARGET)
        target("rg", "create", "mine", "--level", "raid1", "--disk", "disk1", "--disk", "disk2")
        before = contents(lab)
        # What is left of one that was killed: its disks, and a dead controller.
        Stage(lab, told.append).set_up()
        assert contents(lab) != before
        parts = Parts(lab)
        kill(*parts.daemon(Side.SOURCE, 1))
        while parts.daemon(Side.SOURCE, 1):
            time.sleep(0.05)
        (result,) = drills.in_lab(lab, ["worker-kill"], told.append, fill=_FILL)
        assert (result.wrong, result.played) == ((), True)
        assert contents(lab) == before
    assert observed.remains() == []


def contents(lab: Lab) -> list[Any]:
    """Return what the states of both sides know, and the images of disks."""
    known: list[Any] = []
    for side in Side:
        file = lab.controller(side).state_dir / "qreplica.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            tables = ("disks", "raid_groups", "virtual_disks", "nodes", "luns", "jobs", "snapshots", "claims")
            rows = (sorted(map(str, database.execute(f"SELECT * FROM {table}"))) for table in tables)  # noqa: S608
            known += zip(tables, rows, strict=True)
    return [known, sorted(lab.directory.glob("*/disks/*"))]


def test_a_lab_that_is_up_has_no_state_disk_to_fill(lab: Lab) -> None:
    with pytest.raises(NeedsOwnLab, match="needs a lab that is made for it"):
        chosen(["worker-kill", "state-disk-full"], own_lab=False)
    assert set(NAMES) - set(chosen([], own_lab=False)) == {"state-disk-full"}
    with pytest.raises(LabMissing):
        drills.in_lab(lab, [], print)


def test_names_are_checked_before_anything_is_made() -> None:
    assert chosen([], own_lab=True) == list(NAMES)
    with pytest.raises(NoSuchDrill, match="worker-kill"):
        chosen(["worker-kill", "sunshine"], own_lab=True)


def test_a_block_tells_which_write_it_is_from_and_whether_it_is_whole() -> None:
    block = block_of(7, 3)
    assert sequence_of(7, block) == 3
    assert sequence_of(7, bytes(BLOCK)) == 0
    with pytest.raises(ValueError, match="holds something else"):
        sequence_of(8, block)
    with pytest.raises(ValueError, match="is torn at write 3"):
        sequence_of(7, block[:2048] + block_of(7, 2)[2048:])
