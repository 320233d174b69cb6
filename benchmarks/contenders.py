"""What a full copy is measured against: each brings ``size`` bytes to the LUN and ends with SYNCHRONIZE CACHE."""

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import ContenderFailed
from benchmarks.lun import NUMBER, Lun
from qreplica.iscsi.initiator import Buffer, Completion
from qreplica.units import KIB

CHUNK, DEPTH = 256 * KIB, 32
#: The forms of ``qemu-img convert``.
CONVERT = {"qemu-img convert": (), "qemu-img convert -W -m 16": ("-W", "-m", "16")}
_PATTERN = 0x5A
_COMPLETED = re.compile(r"Run completed in (\d+\.\d+) seconds")
_PATIENCE = 10.0


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def program(*argv: str) -> str:
    """Run a program to its end and return what it printed. Raises ContenderFailed."""
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise ContenderFailed(command=shlex.join(argv), reason=reason)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Contenders:
    """``source`` holds ``size`` bytes."""

    lun: Lun
    source: Path
    size: int

    def qemu_bench(self) -> float:
        """Have ``qemu-img bench`` write one constant buffer; its start and its login do not count against it.

        With “unsafe” it does not flush when it ends, which is not in the time that it prints: the flush afterwards is.
        """
        count, depth, length = str(self.size // CHUNK), str(DEPTH), str(CHUNK)
        argv = ("qemu-img", "bench", "-w", "-t", "unsafe", "-f", "raw", "-c", count, "-d", depth, "-s", length)
        with self._flushing() as flush:
            output = program(*argv, f"--pattern={_PATTERN}", self.lun.url)
            flushed = timed(flush)
        found = _COMPLETED.search(output)
        if found is None:
            raise ContenderFailed(command=shlex.join(argv), reason=f"it printed no time: {output}")
        return float(found[1]) + flushed

    def plain_writer(self) -> float:
        """Write one constant buffer by our binding of libiscsi, and nothing else."""
        return timed(self._write_constant)

    def convert(self, *options: str) -> float:
        """Copy by ``qemu-img convert``, which by itself does not flush."""
        argv = ("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", *options, str(self.source), self.lun.url)
        with self._flushing() as flush:
            return timed(lambda: program(*argv)) + timed(flush)

    @contextmanager
    def _flushing(self) -> Iterator[Callable[[], None]]:
        """Give what makes durable all that any session wrote; its login is over by then, and counts for nobody."""
        with self.lun.connect() as session:
            session.capacity(NUMBER)
            yield lambda: session.flush(NUMBER)

    def _write_constant(self) -> None:
        buffer = Buffer(CHUNK)
        buffer.view[:] = bytes([_PATTERN]) * CHUNK
        with self.lun.connect() as session:
            for offset in range(0, self.size, CHUNK):
                while session.in_flight >= DEPTH:
                    _take(session.poll(_PATIENCE))
                session.submit_write(offset, NUMBER, offset, buffer, CHUNK)
            while session.in_flight:
                _take(session.poll(_PATIENCE))
            session.flush(NUMBER)


def _take(completions: Sequence[Completion]) -> None:
    for _, error in completions:
        if error is not None:
            raise error
