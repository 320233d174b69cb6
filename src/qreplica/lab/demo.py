"""The demo: one virtual disk with a real filesystem, replicated in full, changed, replicated again, and proved equal.

Everything that an administrator does goes through the ``qreplica`` command line, everything that a host does through
iSCSI from the host's namespace. What is compared at the end was read over iSCSI from both subsystems' snapshots.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qreplica.lab import filesystem, sparse
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine, login_environment
from qreplica.lab.commands import inside, run
from qreplica.lab.errors import CopyDiffers
from qreplica.lab.host import Done, Request
from qreplica.lab.topology import Lab, Side
from qreplica.units import GIB, MIB, format_rate, format_size

TREE = 512 * MIB
SIZE = 2 * GIB

_PATIENCE = 600.0
RG, VD, BACKUP, JOB = "rg1", "payroll", "payroll-copy", "payroll-job"


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a cycle sent and how long it took: bytes, seconds, bytes of worker memory at most."""

    bytes: int
    seconds: float
    zero_bytes: int
    worker_peak_memory: int

    @classmethod
    def of(cls, job: dict[str, Any]) -> "Cycle":
        """Take the figures of a job's last cycle."""
        cycle = job["cycle"]
        return cls(cycle["sent_bytes"], cycle["seconds"], cycle["zero_bytes"], cycle["worker_peak_memory"])

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds

    def as_json(self) -> dict[str, float]:
        """Return the figures under their names."""
        return {
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "mb_per_second": round(self.rate / 1e6, 1),
            "zero_bytes": self.zero_bytes,
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

    def __init__(self, lab: Lab, tell: Callable[[str], None], *, tree: int = TREE, size: int = SIZE) -> None:
        self._lab = lab
        self._tell = tell
        self._tree = tree
        self._size = size
        self._place = lab.directory / "host"
        self._source = CommandLine(lab, Side.SOURCE, tell)
        self._target = CommandLine(lab, Side.TARGET, tell)
        self._backups: Node | None = None

    def run(self) -> dict[str, Any]:
        """Do all of it and return the figures. Raises CommandFailed, CopyDiffers, TreeTooSmall."""
        self._place.mkdir(mode=0o700)
        image, changed = self._place / "disk.img", self._place / "changed.img"
        self._make_filesystem(image)
        host = self._make_source()
        self._host("write-image", host, image)
        self._make_job(self._make_target())
        full = self._cycle()

        sparse.copy(image, changed)
        changes = filesystem.change(changed, self._place / "mount")
        self._tell(f"The host changed {changes.changed} files, deleted {changes.deleted}, added {changes.added}")
        applied = self._host("apply-changes", host, changed, older=image)
        incremental = self._cycle()

        self._verify(changed, changes.known_content)
        return {
            "full": full.as_json(),
            "incremental": {**incremental.as_json(), "changed_bytes": applied.bytes + applied.unmapped_bytes},
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
        self._source("lun", "create", "host", VD, "--lun", "1")
        return host

    def _make_target(self) -> Node:
        self._target("rg", "create", RG, "--level", "raid1", "--disk", "disk1", "--disk", "disk2")
        self._target(
            "vd", "create", BACKUP, "--rg", RG, "--size", format_size(self._size).replace(" ", ""), "--type", "BACKUP"
        )
        node = self._make_node(self._target, Side.TARGET, "backups", port=1)
        self._target("lun", "create", "backups", BACKUP, "--lun", "1")
        return node

    def _make_job(self, node: Node) -> None:
        self._source(
            *("job", "create", JOB, "--source-vd", VD, "--address", node.address, "--node", node.iqn, "--lun", "1"),
            *("--chap-user", node.user, "--chap-secret-file", str(node.secret_file)),
        )

    def _make_node(self, qreplica: CommandLine, side: Side, name: str, port: int) -> Node:
        secret_file = self._place / f"{side}-{name}-secret"
        descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(8) + "\n")
        made = qreplica("node", "create", name, "--chap-user", name, "--chap-secret-file", str(secret_file))
        return Node(made["iqn"], self._lab.controller(side).ports[port - 1].address, name, secret_file)

    def _cycle(self) -> Cycle:
        # A job waits for a target that is away as long as it takes; a daemon that has died stays away.
        self._source.watched("job", "start", JOB, "--follow", look=partial(labs.check_daemons, self._lab))
        cycle = Cycle.of(self._source("job", "show", JOB))
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
        qreplica("lun", "create", "check", vd, "--lun", "1", "--snapshot", newest)
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
