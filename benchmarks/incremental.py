"""Incremental cycles: ours from the request to the recovery point, rsync, and btrfs send with btrfs receive.

All three replicate the very same changes of the same VD, from snapshots of it. What is read is not in memory, for
any of them. Theirs go to a btrfs of its own, as mirrored as the RG and without its quota groups, and over no network.
"""

import random
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cycles, files
from benchmarks.contenders import program, timed
from benchmarks.errors import ContenderFailed
from benchmarks.host import Host
from benchmarks.rounds import Run, interleave, medians
from benchmarks.world import Tell, World
from qreplica.lab.topology import Side
from qreplica.storage import btrfs_quota, loop_devices
from qreplica.storage.driver import BLOCK

OURS, RSYNC, SEND = "QReplica", "rsync", "btrfs send | receive"


@dataclass
class Others:
    """Programs that replicate from snapshots of the VD's subvolume ``live`` to the filesystem at ``target``.

    ``snapshots`` is where their snapshots go, on the source's filesystem; ``quota_group`` is that of the VD:
    without it they would spoil the RG's accounts.
    """

    live: Path
    snapshots: Path
    target: Path
    quota_group: str
    _number: int = field(default=0, init=False)

    def begin(self) -> None:
        """Copy everything once."""
        self.snapshots.mkdir()
        first = self._snapshot("send-0")
        _pipe(["btrfs", "send", "-q", str(first)], ["btrfs", "receive", "-q", str(self.target)])
        (self.target / "rsync").mkdir()
        program("cp", "--sparse=always", str(first / "disk"), str(self.target / "rsync" / "disk"))
        self._snapshot("rsync")
        self._sync(self.target)

    def go_on(self) -> None:
        """Let go of what the last round needed, and take the snapshot that rsync reads: that is not in its time."""
        self._delete(self.snapshots / "rsync")
        if self._number:
            self._delete(self.snapshots / f"send-{self._number - 1}")
            self._delete(self.target / f"send-{self._number - 1}")
        self._snapshot("rsync")
        for place in (self.snapshots, self.target):
            self._sync(place)  # wakes the kernel's cleaner
            program("btrfs", "subvolume", "sync", str(place))
            self._sync(place)

    def rsync(self) -> None:
        """Bring the file on the target to the snapshot's content, durably."""
        # Without “--ignore-times” it would pass over what was changed within the same second.
        program("rsync", "--inplace", "--no-whole-file", "--ignore-times", *map(str, self._rsync_files()))
        self._sync(self.target)

    def send(self) -> None:
        """Take a snapshot, send what changed, receive it, durably."""
        base = self.snapshots / f"send-{self._number}"
        self._number += 1
        new = self._snapshot(f"send-{self._number}")
        self._sync(self.snapshots)
        _pipe(["btrfs", "send", "-q", "-p", str(base), str(new)], ["btrfs", "receive", "-q", str(self.target)])
        self._sync(self.target)

    def check(self, size: int) -> None:
        """Compare both copies with what they were made from. Raises CopyIsWrong."""
        files.check_equal(*self._rsync_files(), size)
        files.check_equal(*self._sent_files(), size)

    def end(self) -> None:
        """Delete the snapshots on the source."""
        for snapshot in self.snapshots.iterdir():
            self._delete(snapshot)
        self.snapshots.rmdir()
        self._sync(self.live)

    def files(self) -> list[Path]:
        """Return what they read and write."""
        return [*self._rsync_files(), *self._sent_files(), self.live / "disk"]

    def _rsync_files(self) -> tuple[Path, Path]:
        return self.snapshots / "rsync" / "disk", self.target / "rsync" / "disk"

    def _sent_files(self) -> tuple[Path, Path]:
        name = Path(f"send-{self._number}", "disk")
        return self.snapshots / name, self.target / name

    def _snapshot(self, name: str) -> Path:
        new = self.snapshots / name
        program("btrfs", "subvolume", "snapshot", "-r", "-i", self.quota_group, str(self.live), str(new))
        return new

    def _delete(self, path: Path) -> None:
        program("btrfs", "subvolume", "delete", str(path))

    def _sync(self, path: Path) -> None:
        program("btrfs", "filesystem", "sync", str(path))


@contextmanager
def others_target(place: Path, size: int) -> Iterator[Path]:
    """Make a mirrored btrfs for ``size`` bytes, mounted for the length of a block; a sweep finds what is left of it."""
    images = [place / f"others{number}.img" for number in (1, 2)]
    for image in images:
        files.empty(image, size)
    devices = [loop_devices.attach(image) for image in images]
    mount = place / "others"
    mount.mkdir()
    program("mkfs.btrfs", "-q", "-f", "-d", "raid1", "-m", "raid1", *map(str, devices))
    program("btrfs", "device", "scan", *map(str, devices))
    program("mount", "-o", "noatime", str(devices[0]), str(mount))
    try:
        yield mount
    finally:
        program("umount", str(mount))
        for image in images:
            loop_devices.detach(image)
            image.unlink()


@dataclass(frozen=True, slots=True)
class Vd:
    """A VD that is replicated by the job of the same name; ``lun`` is its number for the host."""

    job: str
    lun: int
    size: int
    live: Path


def measure(
    world: World, host: Host, vd: Vd, larger: Vd, others: Others, *, changes: int, rounds: int, tell: Tell
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of incremental cycles, and those of the same changes on a larger VD.

    Both VDs and their copies are equal when it begins.
    """
    chance = random.Random(1)  # noqa: S311 - the same changes every time
    ours: list[cycles.Cycle] = []
    large: list[cycles.Cycle] = []

    def change() -> None:
        for each in (vd, larger):
            host.scatter(each.lun, chance.sample(range(each.size // BLOCK), changes))
        others.go_on()

    def cycle(of: Vd, into: list[cycles.Cycle]) -> float:
        into.append(cycles.run(world, of.job))
        return into[-1].committed

    runs: dict[str, Run] = {
        OURS: partial(cycle, vd, ours),
        SEND: partial(timed, others.send),
        RSYNC: partial(timed, others.rsync),
        "larger": partial(cycle, larger, large),
    }
    seconds = interleave(
        runs,
        rounds,
        tell,
        before=lambda: files.forget(_read(world, vd, larger, others)),
        each_round=change,
    )
    others.check(vd.size)
    tell("  compared: rsync's and btrfs receive's copies, byte for byte")
    middle = medians(seconds)
    figures = {
        "changed_blocks": changes,
        "seconds": {name: round(middle[name], 3) for name in (OURS, RSYNC, SEND)},
        "runs": {name: [round(one, 4) for one in seconds[name]] for name in (OURS, RSYNC, SEND)},
        "seconds_until_idle": round(statistics.median(one.idle for one in ours[1:]), 3),
        "speedup_vs_rsync": round(middle[RSYNC] / middle[OURS], 1),
        "speedup_vs_btrfs_send": round(middle[SEND] / middle[OURS], 2),
        "blocks_per_second": round(changes / middle[OURS]),
    }
    growth = {
        "bytes": larger.size,
        "times": larger.size / vd.size,
        "seconds": round(middle["larger"], 3),
        "runs": [round(one, 4) for one in seconds["larger"]],
        "seconds_16x": round(middle["larger"] / middle[OURS], 3),
    }
    return figures, growth


def quota_group(live: Path) -> str:
    """Return the quota group of the VD whose file is ``live``."""
    return btrfs_quota.quota_group(live.parent.parent.name)


def _read(world: World, vd: Vd, larger: Vd, others: Others) -> list[Path]:
    """Return every file that any of them reads or writes."""
    snapshots = [snapshot for each in (vd, larger) for snapshot in each.live.parent.parent.glob("snapshots/*/disk")]
    copies = list(world.mount(Side.TARGET).glob("vds/*/live/disk"))
    return [*others.files(), vd.live, larger.live, *snapshots, *copies]


def _pipe(sender: list[str], receiver: list[str]) -> None:
    """Run two programs, the first one's output being the second one's input. Raises ContenderFailed."""
    with (
        subprocess.Popen(sender, stdout=subprocess.PIPE) as first,
        subprocess.Popen(receiver, stdin=first.stdout, stderr=subprocess.PIPE) as second,
    ):
        if first.stdout is not None:
            first.stdout.close()
        _, said = second.communicate()
    if first.returncode or second.returncode:
        command = f"{' '.join(sender)} | {' '.join(receiver)}"
        raise ContenderFailed(command=command, reason=said.decode(errors="replace").strip() or "see above")
