"""How fast the initiator writes, to a tuned tgtd over a file on tmpfs: 256 KiB x 32, and scattered 4 KiB writes.

    python benchmarks/initiator.py [--gib 4] [--writes 200000] [--rounds 3]

Data come from a file on tmpfs too, by ``preadv`` inline, as a replication job does it. Every round ends with
SYNCHRONIZE CACHE; the first one only warms up. Needs root.
"""  # noqa: INP001 - a script, not a package

import argparse
import os
import random
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qreplica.iscsi.initiator import Buffer, Portal, Session
from qreplica.units import GIB, KIB, MIB, format_rate

IQN = "iqn.2024-05.com.example:benchmark"
INITIATOR = "iqn.2024-05.com.example:initiator"
TUNING = {
    "MaxRecvDataSegmentLength": MIB,
    "MaxXmitDataSegmentLength": MIB,
    "MaxBurstLength": 16776192,
    "FirstBurstLength": MIB,
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxOutstandingR2T": 16,
    "HeaderDigest": "CRC32C,None",
}


@contextmanager
def tgtd(file: Path) -> Iterator[Portal]:
    """Run a tgtd with ``file`` as LUN 1 of the node."""
    control = str(os.getpid() % 20000 + 10000)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def admin(*words: str) -> bool:
        argv = ["tgtadm", "-C", control, "--lld", "iscsi", *words]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    listen = f"portal=127.0.0.1:{port}"
    daemon = subprocess.Popen(["tgtd", "-f", "-C", control, "--iscsi", listen], stderr=subprocess.DEVNULL)
    try:
        while not admin("--mode", "sys", "--op", "show"):
            if daemon.poll() is not None:
                raise SystemExit("tgtd did not start")
            time.sleep(0.02)
        node = ["--tid", "1"]
        done = [admin("--mode", "target", "--op", "new", *node, "-T", IQN)]
        done += [admin("--mode", "target", "--op", "update", *node, "-n", n, "-v", str(v)) for n, v in TUNING.items()]
        lun = ["--mode", "logicalunit", *node, "--lun", "1"]
        done += [admin(*lun, "--op", "new", "-b", str(file))]
        done += [admin(*lun, "--op", "update", "--params", "thin_provisioning=1")]
        done += [admin("--mode", "target", "--op", "bind", *node, "-I", "ALL")]
        if not all(done):
            raise SystemExit("tgtd refused the configuration")
        yield Portal("127.0.0.1", port)
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        for name in (f"socket.{control}", f"socket.{control}.lock"):
            Path("/var/run/tgtd", name).unlink(missing_ok=True)


def pump(session: Session, source: int, offsets: list[int], length: int, depth: int) -> None:
    """Copy ``length`` bytes at each of ``offsets`` from the file to the LUN, ``depth`` in flight, and flush."""
    buffers = [Buffer(length) for _ in range(depth)]
    free = list(range(depth))
    todo = iter(offsets)
    offset = next(todo, None)
    while offset is not None or session.in_flight:
        while free and offset is not None:
            slot = free.pop()
            os.preadv(source, [buffers[slot].view], offset)
            session.submit_write(slot, 1, offset, buffers[slot], length)
            offset = next(todo, None)
        for tag, error in session.poll(10.0):
            if error is not None:
                raise error
            free.append(tag)
    session.flush(1)


def timed(session: Session, source: int, offsets: list[int], length: int, depth: int) -> tuple[float, float]:
    """Return the seconds of one pump, and those of our own processor time."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    pump(session, source, offsets, length, depth)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=4)
    parser.add_argument("--writes", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        noise = os.urandom(64 * MIB)
        with source.open("wb") as file:
            for _ in range(args.gib * GIB // len(noise)):
                file.write(noise)
        with target.open("wb") as file:
            file.truncate(args.gib * GIB)
        large = list(range(0, args.gib * GIB, 256 * KIB))
        all_small = range(0, args.gib * GIB, 4 * KIB)
        chance = random.Random(1)  # noqa: S311 - the same offsets every time
        small = chance.sample(all_small, min(args.writes, len(all_small)))
        descriptor = os.open(source, os.O_RDONLY)
        with tgtd(target) as portal, Session.connect(portal, IQN, INITIATOR) as session:
            print(f"header digest: {session.header_digest}")
            for number in range(args.rounds + 1):
                seconds, cpu = timed(session, descriptor, large, 256 * KIB, args.depth)
                rate = args.gib * GIB / seconds
                few, few_cpu = timed(session, descriptor, small, 4 * KIB, args.depth)
                if number:
                    print(
                        f"256 KiB x {args.depth}: {format_rate(rate)} ({rate / 1e6:.0f} MB/s, own CPU {cpu:.2f} s), ",
                        end="",
                    )
                    print(f"4 KiB scattered: {len(small) / few:.0f} writes/s (own CPU {few_cpu:.2f} s)")
        os.close(descriptor)


if __name__ == "__main__":
    main()
