"""Recovery points at the command line: listed, locked, and how long they are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


@pytest.fixture
def shell(world: Any, logged_in: Any) -> Any:
    """Give the shell of a target whose backup VD has three points, one a day."""
    world.add_disks("d1", "d2")
    logged_in.run("rg", "create", "rg1", "--level", "raid1", "--disk", "d1", "--disk", "d2")
    logged_in.run("vd", "create", "copy", "--rg", "rg1", "--size", "64MiB", "--type", "backup")
    for generation in (5, 6, 7):
        world.add_point("copy", generation, datetime(2026, 11, 20, 9, 30, tzinfo=UTC) + timedelta(days=generation))
    return logged_in


def test_points_are_locked_and_unlocked(shell: Any) -> None:
    run = shell.run
    assert run("recovery-point", "lock", "copy", "5", "--note", "accounts").out == (
        "Recovery point “recovery-5” of VD “copy” is locked.\n"
    )
    lines = run("recovery-point", "list", "copy").out.splitlines()
    (row,) = [line for line in lines if " recovery-5 " in line]
    assert row.split()[:4] == ["5", "recovery-5", "2026-11-25", "10:30:00"]
    assert row.endswith("last, locked  by admin: accounts")
    assert run("snapshot", "delete", "copy", "recovery-5", "--yes", code=4).err.startswith(
        "Error: Snapshot recovery-5 of copy cannot be deleted because it is recovery point 5, which admin locked: "
    )
    run("vd", "retention", "set", "copy", "--last", "1", "--yes")
    assert [one["kept_by"] for one in run("recovery-point", "list", "copy", "--json").json()] == [
        ["locked"],
        [],
        ["last"],
    ]
    assert run("recovery-point", "unlock", "copy", "recovery-5").out == (
        "Recovery point “recovery-5” of VD “copy” is not locked; it goes when the next cycle begins.\n"
    )
    assert run("recovery-point", "unlock", "copy", "7", "--json").json()["lock"] is None
    assert "has no recovery point “9”" in run("recovery-point", "lock", "copy", "9", code=3).err


def test_the_retention_is_set_rule_by_rule(shell: Any) -> None:
    run = shell.run
    assert "the last 8" in run("vd", "retention", "show", "copy").out
    assert run("vd", "retention", "set", "copy", "--daily", "7").out == (
        "Recovery points of VD “copy” that are kept: the last 8, 7 daily.\n"
    )
    # What is not given stays; what loses points is tried first, and confirmed.
    tried = run("vd", "retention", "set", "copy", "--daily", "2", "--last", "1", "--preview").out
    shown = [line.rstrip().rpartition("  ")[2] for line in tried.splitlines()]
    assert shown == ["the last 1, 2 daily", "no", "2", "recovery-5"]
    run("vd", "retention", "set", "copy", "--daily", "2", "--last", "1", code=4)
    assert run("vd", "retention", "show", "copy", "--json").json()["daily"] == 7
    changed = run("vd", "retention", "set", "copy", "--last", "1", "--daily", "2", "--yes", "--json").json()
    assert (changed["last"], changed["daily"], changed["lets_go"]) == (1, 2, ["recovery-5"])
    run("vd", "retention", "set", "copy", "--weekly", "1", "--yes")
    assert run("vd", "retention", "unset", "copy").out == "Recovery points of VD “copy” that are kept: the last 8.\n"
    assert run("vd", "retention", "show", "copy", "--json").json()["is_default"] is True
    assert "last" in run("vd", "retention", "set", "copy", "--last", "0", code=2).err
    run("vd", "create", "payroll", "--rg", "rg1", "--size", "64MiB")
    assert "name a backup VD" in run("vd", "retention", "show", "payroll", code=2).err


def test_a_point_is_tried_and_the_trial_ended(shell: Any) -> None:
    run = shell.run
    assert run("test-mount", "list").out.startswith("There are no test mounts")
    assert run("test-mount", "create", "copy", "5").out == (
        "Recovery point 5 of “copy” can be tried as VD “copy-test-5”; attach it with “qreplica lun create”.\n"
    )
    (row,) = [line for line in run("test-mount", "list").out.splitlines() if line.startswith("copy-test-5")]
    assert row.split()[1:3] == ["copy", "5"]
    assert "admin" in row
    assert "test mount copy-test-5" in run("snapshot", "delete", "copy", "recovery-5", "--yes", code=4).err
    assert run("test-mount", "end", "copy-test-5", "--yes").out == "Test mount “copy-test-5” is gone.\n"
    assert run("test-mount", "list", "--json").json() == []
    assert "There is no test mount" in run("test-mount", "end", "copy", "--yes", code=3).err
