"""Two whole subsystems whose disks, state included, lie on one platter; a job replicates from one to the other."""

import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qreplica.drill.pattern import block_of
from qreplica.iscsi.initiator import Session
from qreplica.iscsi.target.pause import stopped
from qreplica.storage.driver import BLOCK
from qreplica.units import GIB, MIB

from ..daemon.running import HOST, Controller, clean_up, eventually, gone  # noqa: TID252 - the daemon's own tests'
from .platter import Platter, PowerDisk, run

SIZE = 48 * MIB
#: Many small steps, so that a crash meets all of them.
_TRANSFER = (
    "[transfer]\nchunk = 65536\ndepth = 2\n"
    "checkpoint_bytes = 1048576\ncheckpoint_seconds = 0.05\ncheckpoint_pause = 0\n"
)
_UNKNOWN = "unsupported option features (10000)"
_WRONG = re.compile(r"ERROR|error|mismatch|missing|wrong|bad|corrupt|orphan|invalid|refs \d+", re.IGNORECASE)
_ONLY_COUNTS = re.compile(r"^(found \d+ bytes used, error\(s\) found|Counts for qgroup id: 1/\d+ are different)$")
#: Snapshots of “r1”, which first is as the last of them.
STATES = ("one", "two")
_CHAP = {"chap_user": "replica", "chap_secret": "a-secret-of-the-node"}


class Box:
    """A subsystem of one controller: two disks of a RAID 1 group, and one with its state on ext4.

    One disk of the group has a write cache and the other has none, so that after a cut they differ as far as they can.
    """

    def __init__(self, directory: Path, name: str, platter: Platter) -> None:
        directory.mkdir()
        self.directory = directory
        self.controller = Controller(directory)
        self.controller.config.write_text(self.controller.text(subsystem=name) + _TRANSFER)
        self.data = [platter.disk(directory / f"d{number}", 2 * GIB, with_cache=number == 1) for number in (1, 2)]
        self._state = platter.disk(directory / "state-disk", 128 * MIB, with_cache=True)

    @property
    def disks(self) -> list[PowerDisk]:
        return [*self.data, self._state]

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def make(self, platter: Path) -> None:
        """Bring a new one into operation."""
        self._attach(platter)
        run("mkfs.ext4", "-q", self._state.link)
        self._mount_state()
        self.controller.license()
        self.controller.start()
        call = self.call
        self.controller.set_up()
        for number, disk in enumerate(self.data, 1):
            call("POST", "/disks", {"name": f"d{number}", "device": str(disk.link)}, expect=201)
        call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)

    def boot(self, platter: Path) -> None:
        """Bring it into operation with what the file holds."""
        self._attach(platter)
        self._boot()

    def _attach(self, platter: Path) -> None:
        for disk in self.disks:
            disk.attach(platter)

    def _boot(self) -> None:
        self._mount_state()
        self.controller.start()

    def _mount_state(self) -> None:
        self.state.mkdir(exist_ok=True)
        run("mount", "-o", "noatime", self._state.link.resolve(), self.state)

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        return self.controller.call(method, path, body, expect=expect)

    def processes(self) -> list[int]:
        """Return the daemon and its children: target daemon and worker."""
        process = self.controller.process
        if process is None or process.poll() is not None:
            return []
        return [self.controller.pid, *self.controller.children()]

    def stand_still(self) -> list[int]:
        """Stop all of its processes, and return them."""
        found: set[int] = set()

        def still() -> bool:
            # A worker at the end of a snapshot wakes the target daemon, so that telling once is not enough.
            found.update(self.processes())
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            return found >= set(self.processes()) and all(stopped(pid) or not _lives(pid) for pid in found)

        eventually(still)
        return sorted(found)

    def go_on(self, processes: Sequence[int]) -> None:
        """Let what was stopped run on."""
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill all of its processes, and wait for their end."""
        processes = self.processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.controller.process is not None:
            self.controller.process.wait()
        assert all(gone(pid) for pid in processes)

    def take_down(self) -> None:
        """End it, have every structure of its RG looked at, and take its disks out of operation."""
        self.kill()
        clean_up(self.directory)
        check_structure(self.data)
        self._detach()

    def lose_power(self) -> None:
        """End it as it is: what its disks' file holds by now does not matter any more."""
        self.kill()
        clean_up(self.directory)
        self._detach()

    def _detach(self) -> None:
        for disk in self.disks:
            disk.detach()

    def close(self) -> None:
        self.lose_power()
        self.controller.close()

    def query(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask the state database itself."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/qreplica.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    @property
    def group(self) -> Path:
        """Where its RAID group is mounted."""
        ((group,),) = self.query("SELECT id FROM raid_groups")
        return self.state / "rg" / str(group)

    def vd(self, name: str) -> Path:
        """Return the directory of a VD."""
        ((vd,),) = self.query("SELECT id FROM virtual_disks WHERE name = ?", name)
        return self.group / "vds" / str(vd)

    def live(self, name: str) -> Path:
        return self.vd(name) / "live" / "disk"

    def snapshot(self, snapshot: str) -> Path:
        """Return the file of a snapshot."""
        (found,) = self.group.glob(f"vds/*/snapshots/{snapshot}/disk")
        return found


class Boxes:
    """Source and target, with the job “nightly” from VD “v1” to backup VD “b1”."""

    def __init__(self, folder: Path) -> None:
        self.platter = Platter.make(folder / "power")
        self.source = Box(folder / "source", "source", self.platter)
        self.target = Box(folder / "target", "target", self.platter)
        self.iqn = ""

    @property
    def both(self) -> tuple[Box, Box]:
        return self.source, self.target

    def make(self) -> None:
        self._each(lambda box: box.make(self.platter.file))
        source, target = self.both
        source.call("POST", "/virtual-disks", {"name": "v1", "raid_group": "rg1", "size": str(SIZE)}, expect=201)
        source.call("PATCH", "/virtual-disks/v1", {"snapshot_space": str(8 * SIZE)})
        node = source.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
        source.call("POST", "/luns", {"node": "hosts", "vd": "v1"}, expect=201)
        self.iqn = str(node["iqn"])
        self._make_states()
        backup = {"name": "b1", "raid_group": "rg1", "size": str(SIZE), "type": "BACKUP"}
        target.call("POST", "/virtual-disks", backup, expect=201)
        target.call("PATCH", "/virtual-disks/b1", {"snapshot_space": str(8 * SIZE)})
        node = target.call("POST", "/nodes", {"name": "backups", **_CHAP}, expect=201)
        target.call("POST", "/luns", {"node": "backups", "vd": "b1", "number": 1}, expect=201)
        controller = target.controller
        where = {"address": "127.0.0.1", "port": controller.iscsi_port, "peer_port": controller.peer_port}
        job = {"name": "nightly", "source_vd": "v1", "lun": 1, "node": node["iqn"], **_CHAP, **where}
        # On a machine that is busy beyond measure the target may not answer a login within its time.
        assert eventually(lambda: source.controller.http.request("POST", "/jobs", json=job).status_code == 201)

    def _make_states(self) -> None:
        """Make VD “r1” with a snapshot for each of two contents, between which it can be rolled back and forth."""
        call = self.source.call
        call("POST", "/virtual-disks", {"name": "r1", "raid_group": "rg1", "size": str(4 * MIB)}, expect=201)
        call("PATCH", "/virtual-disks/r1", {"snapshot_space": str(16 * MIB)})
        call("POST", "/luns", {"node": "hosts", "vd": "r1", "number": 2}, expect=201)
        with self.log_in() as session:
            for number, name in enumerate(STATES, 1):
                session.write(2, 0, b"".join(block_of(block, number) for block in range(4 * MIB // BLOCK)))
                session.flush(2)
                call("POST", "/snapshots", {"vd": "r1", "name": name}, expect=201)
        call("DELETE", "/luns/hosts/2", expect=204)

    def log_in(self) -> Session:
        return self.source.controller.log_in(self.iqn)

    def boot(self, platter: Path) -> None:
        self._each(lambda box: box.boot(platter))

    def restart(self) -> None:
        """Start both, all of whose processes were killed."""
        self._each(lambda box: box.controller.start())

    def _each(self, do: Callable[[Box], None]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(do, self.both))

    def take_down(self) -> None:
        """End both; nothing may be damaged."""
        for box in self.both:
            box.take_down()

    def lose_power(self) -> None:
        """End both as they are."""
        for box in self.both:
            box.lose_power()

    def close(self) -> None:
        for box in self.both:
            box.close()
        self.platter.close()


@contextlib.contextmanager
def two_boxes(folder: Path) -> Iterator[Boxes]:
    """Two subsystems in operation."""
    boxes = Boxes(folder)
    try:
        boxes.make()
        yield boxes
    finally:
        boxes.close()


def digest(file: Path) -> str:
    """Return the SHA-256 of a file as the disks have it."""
    with file.open("rb") as content:
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(content, "sha256").hexdigest()


def scrub(group: Path) -> None:
    """Have every copy of everything read; nothing may be wrong with any."""
    output = run("btrfs", "scrub", "start", "-B", "-R", group)
    counts = dict(line.strip().split(": ") for line in output.splitlines() if line.startswith("\t"))
    wrong = {name: count for name, count in counts.items() if "error" in name and int(count)}
    assert not wrong, output
    assert int(counts["data_bytes_scrubbed"]) + int(counts["tree_bytes_scrubbed"]) > 0
    run("btrfs", "device", "stats", "--check", group)


def check_structure(disks: Sequence[PowerDisk]) -> None:
    """Have every structure of an RG that is not open looked at, as far as the program at hand knows them.

    That of Debian 12 knows no simple quotas. Of full ones it counts differently what was deleted and is half gone.
    """
    command = ["btrfs", "check", "--readonly", str(disks[0].link.resolve())]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0 and _UNKNOWN not in said:
        wrong = [line for line in said.splitlines() if _WRONG.search(line) and not _ONLY_COUNTS.search(line)]
        assert not wrong, said
        assert "Counts for qgroup" in said, said


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
