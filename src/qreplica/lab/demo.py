"""The demo: one virtual disk with a real filesystem, replicated in full, changed, replicated again, and proved equal.

Everything that an administrator does goes through the ``qreplica`` command line, everything that a host does through
iSCSI from the host's namespace. What is compared at the end was read over iSCSI from both subsystems' snapshots.
"""

import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qreplica.lab import demo_license, demo_port, demo_schedule, filesystem, sparse
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine, login_environment, write_secret
from qreplica.lab.commands import inside, run
from qreplica.lab.demo_port import Traffic
from qreplica.lab.errors import CopyDiffers
from qreplica.lab.host import Done, Request
from qreplica.lab.topology import Lab, Side
from qreplica.lab.trouble import Interruption, Trouble
from qreplica.units import GIB, MIB, format_rate, format_size

TREE = 512 * MIB
SIZE = 2 * GIB

_PATIENCE = 600.0
_LUN = 1
#: A kill comes when so much of the tree is on its way.
_PARTS = 4
RG, VD, BACKUP, JOB = "rg1", "payroll", "payroll-copy", "payroll-job"


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a cycle sent and how long it took: bytes, seconds, bytes of worker memory at most; and what befell it."""

    bytes: int
    seconds: float
    zero_bytes: int
    worker_peak_memory: int
    interruptions: tuple[Interruption, ...] = ()

    @classmethod
    def of(cls, job: dict[str, Any], interruptions: Iterable[Interruption] = ()) -> "Cycle":
        """Take the figures of a job's last cycle."""
        cycle = job["cycle"]
        memory = cycle["worker_peak_memory"]
        return cls(cycle["sent_bytes"], cycle["seconds"], cycle["zero_bytes"], memory, tuple(interruptions))

    @property
    def rate(self) -> float:
        """Bytes a second, while nothing was interrupted."""
        return self.bytes / (self.seconds - sum(one.resume_seconds for one in self.interruptions))

    def as_json(self) -> dict[str, Any]:
        """Return the figures under their names."""
        return {
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "mb_per_second": round(self.rate / 1e6, 1),
            "zero_bytes": self.zero_bytes,
            "interruptions": [one.as_json() for one in self.interruptions],
        }


@dataclass(frozen=True, slots=True)
class Node:
    """An iSCSI node that the demo made, as its host sees it."""

    iqn: str
    address: str
    user: str
    secret_file: Path


class Demo:
    """The demo on a lab that is up; ``tell`` is told what goes on."""

    def __init__(
        self, lab: Lab, tell: Callable[[str], None], *, tree: int = TREE, size: int = SIZE, calm: bool = False
    ) -> None:
        """Replicate ``tree`` bytes of files on a disk of ``size``; ``calm``: without kills, nor a schedule."""
        self._lab = lab
        self._tell = tell
        self._tree = tree
        self._size = size
        self._calm = calm
        self._place = lab.directory / "host"
        self._source = CommandLine(lab, Side.SOURCE, tell)
        self._quietly = CommandLine(lab, Side.SOURCE)
        self._target = CommandLine(lab, Side.TARGET, tell)
        self._backups: Node | None = None

    def run(self) -> dict[str, Any]:
        """Do all of it and return the figures. The source must have no license yet.

        Raises CommandFailed, CopyDiffers, TreeTooSmall, LicenseMatterless, TrafficElsewhere, LabStuck.
        """
        self._place.mkdir(mode=0o700)
        steps = demo_license.activate(self._lab, self._source, self._tell)
        demo_port.enable(self._source)
        image, changed = self._place / "disk.img", self._place / "changed.img"
        self._make_filesystem(image)
        host = self._make_source()
        self._host("write-image", host, image)
        backups = self._make_target()
        self._make_job(backups)
        full = self._cycle() if self._calm else self._troubled_cycle(backups)

        sparse.copy(image, changed)
        changes = filesystem.change(changed, self._place / "mount")
        self._tell(f"The host changed {changes.changed} files, deleted {changes.deleted}, added {changes.added}")
        applied = self._host("apply-changes", host, changed, older=image)
        before = Traffic.now(self._lab)
        incremental = self._cycle() if self._calm else self._scheduled_cycle()
        traffic = Traffic.now(self._lab).check_since(before, incremental.bytes)

        self._verify(changed, changes.known_content)
        return {
            "steps": [step.as_json() for step in steps],
            "full": full.as_json(),
            "incremental": {**incremental.as_json(), "changed_bytes": applied.bytes + applied.unmapped_bytes},
            "qreplica_port": traffic,
            "verified": True,
            "worker_peak_memory": max(full.worker_peak_memory, incremental.worker_peak_memory),
        }

    def _make_filesystem(self, image: Path) -> None:
        tree = self._place / "tree"
        tree.mkdir()
        held = filesystem.collect(tree, self._tree)
        self._tell(f"Making an ext4 filesystem with {format_size(held)} of this machine's files")
        filesystem.make(image, self._size, tree)
        shutil.rmtree(tree)

    def _make_source(self) -> Node:
        disks = [word for number in range(1, 5) for word in ("--disk", f"disk{number}")]
        self._source("rg", "create", RG, "--level", "raid10", *disks)
        self._source("vd", "create", VD, "--rg", RG, "--size", format_size(self._size).replace(" ", ""))
        host = self._make_node(self._source, Side.SOURCE, "host", port=1)
        self._source("lun", "create", "host", VD, "--lun", str(_LUN))
        return host

    def _make_target(self) -> Node:
        self._target("rg", "create", RG, "--level", "raid1", "--disk", "disk1", "--disk", "disk2")
        self._target(
            "vd", "create", BACKUP, "--rg", RG, "--size", format_size(self._size).replace(" ", ""), "--type", "BACKUP"
        )
        node = self._make_node(self._target, Side.TARGET, "backups", port=1)
        self._target("lun", "create", "backups", BACKUP, "--lun", str(_LUN))
        return node

    def _make_job(self, node: Node) -> None:
        self._source(
            *(
                "job",
                "create",
                JOB,
                "--source-vd",
                VD,
                "--address",
                node.address,
                "--node",
                node.iqn,
                "--lun",
                str(_LUN),
            ),
            *("--chap-user", node.user, "--chap-secret-file", str(node.secret_file)),
        )
        self._source("job", "path", "add", JOB, self._lab.controller(Side.TARGET, 2).ports[0].address)

    def _make_node(self, qreplica: CommandLine, side: Side, name: str, port: int) -> Node:
        secret_file = self._place / f"{side}-{name}-secret"
        write_secret(secret_file, secrets.token_hex(8))
        made = qreplica("node", "create", name, "--chap-user", name, "--chap-secret-file", str(secret_file))
        return Node(made["iqn"], self._lab.controller(side).ports[port - 1].address, name, secret_file)

    def _cycle(self) -> Cycle:
        # A job waits for a target that is away as long as it takes; daemons that have died stay away.
        self._run_job(partial(labs.check_daemons, self._lab))
        return self._told(Cycle.of(self._source("job", "show", JOB)))

    def _troubled_cycle(self, node: Node) -> Cycle:
        part = self._tree // _PARTS
        trouble = Trouble(self._lab, self._tell, job=JOB, node=node.iqn, lun=_LUN, part=part)

        def look() -> None:
            labs.check_daemons(self._lab)
            trouble.look()

        self._run_job(look)
        trouble.mend()
        return self._told(Cycle.of(self._source("job", "show", JOB), trouble.interruptions))

    def _scheduled_cycle(self) -> Cycle:
        self._tell("The next cycle begins by schedule, at the next full minute")
        look = partial(labs.check_daemons, self._lab)
        return self._told(Cycle.of(demo_schedule.wait_for_cycle(self._source, self._quietly, JOB, look)))

    def _run_job(self, look: Callable[[], None]) -> None:
        self._source.watched("job", "start", JOB, "--follow", "--yes", look=look)

    def _told(self, cycle: Cycle) -> Cycle:
        self._tell(f"{format_size(cycle.bytes)} sent in {cycle.seconds:.1f} s, {format_rate(cycle.rate)}")
        return cycle

    def _verify(self, image: Path, known_content: bytes) -> None:
        """Compare what both sides' newest snapshots hold, each read over iSCSI. Raises CopyDiffers, CommandFailed."""
        self._tell("Reading the source's snapshot and the target's recovery point back over iSCSI")
        copy = self._read_back(self._target, Side.TARGET, BACKUP, "recovery-point")
        original = self._read_back(self._source, Side.SOURCE, VD, "replication")
        digest = compare(copy, original, image, known_content)
        self._tell(f"The two and what the host wrote are equal: SHA-256 {digest}")
        self._tell(f"e2fsck finds the copy clean, and {filesystem.KNOWN_FILE} in it reads as written")
        copy.unlink()
        original.unlink()

    def _read_back(self, qreplica: CommandLine, side: Side, vd: str, kind: str) -> Path:
        newest = [one["name"] for one in qreplica("snapshot", "list", "--vd", vd) if one["kind"] == kind][-1]
        node = self._make_node(qreplica, side, "check", port=2)
        qreplica("lun", "create", "check", vd, "--lun", str(_LUN), "--snapshot", newest)
        into = self._place / f"{side}-snapshot.img"
        self._host("read-back", node, into)
        return into

    def _host(self, verb: str, node: Node, image: Path, older: Path | None = None) -> Done:
        request = Request.model_validate(
            {
                "verb": verb,
                "address": node.address,
                "node": node.iqn,
                "chap_user": node.user,
                "chap_secret": node.secret_file.read_text().strip(),
                "image": image,
                "older": older,
            }
        )
        argv = inside(self._lab.host, sys.executable, "-m", "qreplica.lab.host")
        answer = run(argv, stdin=request.model_dump_json(), env=login_environment(self._lab), timeout=_PATIENCE)
        done = Done.model_validate_json(answer)
        what = f"{format_size(done.bytes)} in {done.seconds:.1f} s"
        unmapped = f", {format_size(done.unmapped_bytes)} discarded" if done.unmapped_bytes else ""
        self._tell(f"Host, {verb}: {what}{unmapped}")
        return done


def compare(copy: Path, original: Path, written: Path, known_content: bytes) -> str:
    """Return the SHA-256 of three equal images, the first of which must be a clean filesystem with the known file.

    Raises CopyDiffers, CommandFailed with what e2fsck complained of.
    """
    images = (copy, original, written)
    with ThreadPoolExecutor() as pool:
        digests = dict(zip(images, pool.map(filesystem.digest, images), strict=True))
    if len(set(digests.values())) != 1:
        raise CopyDiffers(what=", ".join(f"{image.name} has SHA-256 {digest}" for image, digest in digests.items()))
    filesystem.check(copy)
    if filesystem.content(copy, filesystem.KNOWN_FILE) != known_content:
        raise CopyDiffers(what=f"{filesystem.KNOWN_FILE} has another content")
    return digests[copy]
