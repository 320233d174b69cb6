"""How fast the replication pump copies, to a tuned tgtd over a file on tmpfs, and how much memory it takes.

    python benchmarks/pump.py [--gib 2] [--writes 100000] [--rounds 3] [--depth 32] [--chunk 256] [--source FILE]

Without ``--source`` the source is a file on tmpfs; give a file on a disk to see what reading costs. Each round is a
whole transfer: checkpoints as in a cycle, the last flush included. The first round only warms up. Needs root.
"""  # noqa: INP001 - a script, not a package

import argparse
import os
import random
import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from initiator import INITIATOR, IQN, tgtd

from qreplica.iscsi.initiator import Session
from qreplica.replication.transfer import Progress, Settings, Transfer
from qreplica.storage.driver import Extent, ExtentKind
from qreplica.units import GIB, KIB, MIB, format_rate, format_size


def fill(file: Path, size: int) -> None:
    """Write what does not compress and has no zeros."""
    noise = os.urandom(16 * MIB)
    with file.open("wb") as out:
        for _ in range(size // len(noise)):
            out.write(noise)


def forget_peak() -> None:
    """Begin to measure the peak of resident memory anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the peak of resident memory since, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * KIB for line in status.splitlines() if line.startswith("VmHWM"))


def run(session: Session, source: int, extents: Sequence[Extent], size: int, settings: Settings) -> tuple[float, float]:
    """Return the seconds of one transfer, and those of our own processor time."""
    checkpoints: list[Progress] = []
    transfer = Transfer(
        session,
        1,
        source,
        extents,
        end=size,
        stop=threading.Event(),
        on_checkpoint=checkpoints.append,
        on_progress=lambda _: None,
        settings=settings,
    )
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    finished = transfer.run()
    transfer.seal()
    if not finished or checkpoints[-1].checkpoint != size:
        raise SystemExit("the transfer did not finish")
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=2)
    parser.add_argument("--writes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--chunk", type=int, default=256, help="KiB of one write")
    parser.add_argument("--read-ahead", type=int, default=8, help="MiB")
    parser.add_argument("--source", type=Path)
    args = parser.parse_args()
    size = args.gib * GIB
    settings = Settings(chunk=args.chunk * KIB, depth=args.depth, read_ahead=args.read_ahead * MIB)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        source = args.source or Path(folder, "source")
        if not source.exists():
            fill(source, size)
        target = Path(folder, "target")
        target.touch()
        os.truncate(target, size)
        everything = [Extent(0, size, ExtentKind.DATA)]
        blocks = random.Random(1).sample(range(size // (4 * KIB)), args.writes)  # noqa: S311 - the same every time
        scattered = [Extent(block * 4 * KIB, 4 * KIB, ExtentKind.DATA) for block in sorted(blocks)]
        descriptor = os.open(source, os.O_RDONLY)
        with tgtd(target) as portal, Session.connect(portal, IQN, INITIATOR) as session:
            forget_peak()
            for number in range(args.rounds + 1):
                if args.source:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                seconds, cpu = run(session, descriptor, everything, size, settings)
                if args.source:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                few, few_cpu = run(session, descriptor, scattered, size, settings)
                if number:
                    print(
                        f"whole: {format_rate(size / seconds)} ({size / seconds / 1e6:.0f} MB/s, own CPU {cpu:.2f} s); "
                        f"scattered: {len(scattered) / few:.0f} writes of 4 KiB/s (own CPU {few_cpu:.2f} s)"
                    )
            print(f"peak resident memory of this process: {format_size(peak())}")
        os.close(descriptor)


if __name__ == "__main__":
    main()
