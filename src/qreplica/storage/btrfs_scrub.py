"""Scrubs of an RG's filesystem: all copies of everything are read, and what is wrong is mended from another one.

A program scrubs all disks at once and writes down what it found (btrfs-scrub(8)), so that it can be told also by the
other controller, and after a restart.
"""

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from qreplica.storage import btrfs_background, btrfs_disks
from qreplica.storage.btrfs_disks import Replacement
from qreplica.storage.btrfs_tools import SYSFS, filesystem, run
from qreplica.storage.driver import Scrub
from qreplica.storage.errors import RebuildRunning, StorageCommandFailed

_COMMAND = ("btrfs", "scrub", "start", "-B")
_FIELD = re.compile(r"^\s*([A-Za-z][\w ]*): +(.*)$", re.MULTILINE)
#: How long a scrub that was ended may need to write down what it found (seconds).
_PATIENCE, _POLL = 60.0, 0.05


def status(place: Path) -> Scrub | None:
    """Return the running or last scrub of the filesystem mounted at ``place``, None when there never was one."""
    lives = _program_lives(place)
    facts = dict(_FIELD.findall(run("btrfs", "scrub", "status", "-R", place)))
    if "Scrub started" not in facts:
        return None
    checked = int(facts["data_bytes_scrubbed"]) + int(facts["tree_bytes_scrubbed"])
    state = facts["Status"]
    # At its very beginning and end the program does not answer, which then reads as if it had died.
    running = state == "running" or (state == "interrupted" and lives)
    return Scrub(
        running=running,
        interrupted=not running and state != "finished",
        progress=1.0 if state == "finished" else min(1.0, checked / max(1, _to_check(place))),
        checked=checked,
        corrected=int(facts["corrected_errors"]),
        uncorrectable=int(facts["uncorrectable_errors"]),
        started_at=_time(facts),
        seconds=_seconds(facts),
    )


def _program_lives(place: Path) -> bool:
    """Tell whether the program that scrubs is there, whoever started it."""
    command = b"".join(os.fsencode(part) + b"\0" for part in (*_COMMAND, place))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes() == command:
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def _to_check(place: Path) -> int:
    facts = SYSFS / filesystem(place).id / "allocation"
    return sum(int((facts / kind / "disk_used").read_text()) for kind in ("data", "metadata", "system"))


def _time(facts: Mapping[str, str]) -> datetime:
    """Return when it began: the program gives local time, and ours is made to be UTC."""
    return datetime.strptime(facts["Scrub started"], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def _seconds(facts: Mapping[str, str]) -> float:
    hours, minutes, seconds = facts["Duration"].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def start(group: str, place: Path) -> None:
    """Begin a scrub; one that runs already goes on. Raises RebuildRunning while a disk is replaced."""
    before = status(place)
    if before is not None and before.running:
        return
    if btrfs_disks.replacement(place)[0] is Replacement.STARTED:
        raise RebuildRunning(group=group)
    # Only what is committed is scrubbed.
    run("btrfs", "filesystem", "sync", place, group=group)
    btrfs_background.start(
        *_COMMAND,
        place,
        begun=lambda: _has_begun(place, before),
        group=group,
    )


def _has_begun(place: Path, before: Scrub | None) -> bool:
    now = status(place)
    return now is not None and (now.running or before is None or now.started_at > before.started_at)


def stop(group: str, place: Path) -> None:
    """End a running scrub, and return when what it found is written down; idempotent.

    The kernel would end a replacement too, which reads as a scrub does; none runs beside it.
    """
    if btrfs_disks.replacement(place)[0] is Replacement.STARTED:
        return
    try:
        run("btrfs", "scrub", "cancel", place, group=group)
    except StorageCommandFailed as error:
        if "not running" not in str(error.fields["reason"]):
            raise
    deadline = time.monotonic() + _PATIENCE
    while (now := status(place)) is not None and now.running:
        if time.monotonic() > deadline:
            raise StorageCommandFailed(command="btrfs scrub cancel", reason="the scrub goes on")
        time.sleep(_POLL)
