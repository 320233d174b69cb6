"""Schedules, bandwidth limits, pauses and the QReplica configuration at the command line."""

import re
from typing import Any

import pytest

from qreplica.cli.errors import WindowUnclear
from qreplica.cli.job_schedule import weekdays
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, MIB


@pytest.fixture
def shell_with_job(world: Any, logged_in: Any) -> Any:
    world.add_disks("d1")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    virtual_disks.create(world.database, world.storage, name="payroll", raid_group="rg1", size=GIB)
    world.add_job("nightly", "payroll")
    return logged_in


def test_a_schedule_from_the_first_to_the_last(shell_with_job: Any) -> None:
    run = shell_with_job.run
    run("job", "schedule", "show", "nightly", code=3)
    run("configuration", "set", "--time-zone", "Europe/Vienna")
    assert run("job", "schedule", "set", "nightly", "--at", "14:30", "--at", "02:00").out == (
        "Job “nightly” runs every day at 02:00 and 14:30 (Europe/Vienna).\n"
    )
    weekly = run("job", "schedule", "set", "nightly", "--weekly", "mon-wed,sun", "--at", "02:00", "--json").json()
    assert weekly["weekdays"] == [0, 1, 2, 6]
    assert run("job", "schedule", "set", "nightly", "--monthly", "1,31", "--at", "02:00", "--json").json()["days"] == [
        1,
        31,
    ]
    assert "every 30m" in run("job", "schedule", "set", "nightly", "--every", "30m").out
    shown = run("job", "schedule", "show", "nightly").out
    assert "every 30m, counted from midnight" in shown
    assert shown.count(":30:00") + shown.count(":00:00") == 5
    next_run = run("job", "show", "nightly", "--json").json()["next_run_at"]
    assert next_run is not None
    assert "every 30m" in run("job", "show", "nightly").out
    assert re.search(r"Next run", run("job", "list").out)
    (row,) = [line for line in run("job", "list").out.splitlines() if line.startswith("nightly")]
    assert re.search(r" \d\d-\d\d \d\d:[03]0$", row)
    assert "is off: every 30m" in run("job", "schedule", "disable", "nightly").out
    assert run("job", "show", "nightly", "--json").json()["next_run_at"] is None
    assert run("job", "schedule", "enable", "nightly", "--json").json()["enabled"] is True
    run("job", "schedule", "delete", "nightly")
    run("job", "schedule", "enable", "nightly", code=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "daily needs times"),
        (("--weekly", "mon"), "weekly needs times"),
        (("--weekly", "noday", "--at", "02:00"), "“noday” cannot be read: days are mon, tue"),
        (("--monthly", "1,x", "--at", "02:00"), "“x” cannot be read"),
        (("--every", "5s"), "is not an interval"),
        (("--every", "30m", "--at", "02:00"), "interval goes without times"),
        (("--weekly", "mon", "--monthly", "1", "--at", "02:00"), "monthly goes without weekdays"),
    ],
)
def test_a_schedule_that_cannot_be_is_told_of(shell_with_job: Any, options: tuple[str, ...], sentence: str) -> None:
    assert sentence in shell_with_job.run("job", "schedule", "set", "nightly", *options, code=2).err


def test_a_bandwidth_limit_with_windows(shell_with_job: Any) -> None:
    run = shell_with_job.run
    windows = ("--window", "mon-sun 00:00-00:00 10MiB", "--window", "sat 22:00-06:00 unlimited")
    answer = run("job", "bandwidth", "set", "nightly", "--limit", "50MiB", *windows, "--json").json()
    assert (answer["limit"], answer["at_present"], len(answer["windows"])) == (50 * MIB, 10 * MIB, 2)
    shown = run("job", "bandwidth", "show", "nightly").out
    assert "at most 10 MiB/s" in shown
    assert "sat 22:00-06:00 as fast as it can" in shown
    assert "write days, times and limit" in run("job", "bandwidth", "set", "nightly", "--window", "x", code=2).err
    run("job", "bandwidth", "delete", "nightly")
    assert "as fast as it can" in run("job", "bandwidth", "show", "nightly").out


def test_a_job_is_paused_and_resumed(shell_with_job: Any) -> None:
    run = shell_with_job.run
    assert "is paused" in run("job", "pause", "nightly").out
    assert "paused" in run("job", "list").out
    assert "qreplica job resume nightly" in run("job", "start", "nightly", code=4).err
    assert run("job", "resume", "nightly").out == "Job “nightly” is not paused: it is idle.\n"


def test_the_configuration_is_shown_and_changed_in_part(logged_in: Any) -> None:
    shown = logged_in.run("configuration", "show").out
    for words in ("2 to 1", "50 %, checked every 60 min", "Restart the task an hour later if failed", "UTC"):
        assert words in shown
    changed = logged_in.run("configuration", "set", "--threshold", "70", "--restart-after-failure", "--json").json()
    assert changed == {
        "ratio": 2.0,
        "threshold": 70,
        "restart_after_failure": True,
        "check_minutes": 60,
        "progress_minutes": 15,
        "running_jobs": 16,
        "protect_superseded": False,
        "time_zone": "UTC",
    }
    changed = logged_in.run("configuration", "set", "--ratio", "3", "--no-restart-after-failure", "--json").json()
    assert (changed["ratio"], changed["threshold"], changed["restart_after_failure"]) == (3, 70, False)
    logged_in.run("configuration", "set", "--progress-minutes", "30")
    assert "told of after 30 min" in logged_in.run("configuration", "show").out
    assert logged_in.run("configuration", "set", "--running-jobs", "4", "--json").json()["running_jobs"] == 4
    assert "4 at most" in logged_in.run("configuration", "show").out
    logged_in.run("configuration", "set", "--time-zone", "Nowhere", code=2)


def test_days_of_the_week_are_read() -> None:
    assert weekdays("Mon") == [0]
    assert weekdays("fri-mon") == [0, 4, 5, 6]
    for text in ("", "mo", "mon-", "-mon", "mon-noon", "mon--tue"):
        with pytest.raises(WindowUnclear):
            weekdays(text)
