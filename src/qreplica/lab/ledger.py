"""What the state databases of a lab say, read without their daemons, which may be dead."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreplica.lab.topology import Lab, Side

_CYCLE = """
    SELECT jobs.state, jobs.error, jobs.epoch, cycles.generation, cycles.step, cycles.outcome, cycles.checkpoint,
           cycles.done_bytes, cycles.total_bytes, cycles.resumes, cycles.finished_at
    FROM jobs JOIN cycles ON cycles.job_id = jobs.id WHERE jobs.name = ? ORDER BY cycles.generation DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class CycleNow:
    """A job and its latest cycle; bytes are of the plan."""

    state: str
    error: str | None
    epoch: int
    generation: int
    step: str
    outcome: str | None
    checkpoint: int
    done_bytes: int
    total_bytes: int
    resumes: int
    finished_at: str | None


@contextlib.contextmanager
def between_writes(database: Path) -> Iterator[None]:
    """Let no process be in the middle of writing a state database as long as the block lasts."""
    with contextlib.closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            held.execute("ROLLBACK")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Both sides' databases."""

    lab: Lab

    def cycle(self, job: str) -> CycleNow | None:
        """Return the job's latest cycle."""
        rows = self._ask(Side.SOURCE, _CYCLE, job)
        return CycleNow(*rows[0]) if rows else None

    def duties(self, side: Side) -> list[int]:
        """Return which controller runs the jobs of controller 1, and of controller 2; 0 for none."""
        return [row[0] for row in self._ask(side, "SELECT controller FROM duties ORDER BY owner")]

    def base_file(self, job: str) -> Path:
        """Return the file of the source's snapshot of the last generation that both sides hold."""
        row = self._ask(
            Side.SOURCE,
            "SELECT vd.raid_group_id, vd.id, jobs.base_snapshot_id FROM jobs JOIN virtual_disks vd "
            "ON vd.id = jobs.source_vd_id WHERE jobs.name = ?",
            job,
        )[0]
        return self._vd(Side.SOURCE, row[0], row[1]) / "snapshots" / str(row[2]) / "disk"

    def copies(self, backup_vd: str, side: Side = Side.TARGET) -> tuple[Path, Path]:
        """Return the file of the newest recovery point of a VD that is or was a backup VD, and that of what is live."""
        row = self._ask(
            side,
            "SELECT vd.raid_group_id, vd.id, p.snapshot_id FROM recovery_points p JOIN virtual_disks vd "
            "ON vd.id = p.vd_id WHERE vd.name = ? ORDER BY p.generation DESC LIMIT 1",
            backup_vd,
        )[0]
        home = self._vd(side, row[0], row[1])
        return home / "snapshots" / row[2] / "disk", home / "live" / "disk"

    def live(self, side: Side, vd: str) -> Path:
        """Return the file of what is live of a VD."""
        question = "SELECT raid_group_id, id FROM virtual_disks WHERE name = ?"
        return self._vd(side, *self._ask(side, question, vd)[0]) / "live" / "disk"

    def snapshot(self, side: Side, vd: str, name: str) -> Path:
        """Return the file of a snapshot of a VD."""
        row = self._ask(
            side,
            "SELECT vd.raid_group_id, vd.id, s.id FROM snapshots s JOIN virtual_disks vd ON vd.id = s.vd_id "
            "WHERE vd.name = ? AND s.name = ?",
            vd,
            name,
        )[0]
        return self._vd(side, row[0], row[1]) / "snapshots" / str(row[2]) / "disk"

    def database(self, side: Side) -> Path:
        """Return the file of a side's state database."""
        return self.lab.controller(side).state_dir / "qreplica.db"

    def _vd(self, side: Side, group: str, vd: str) -> Path:
        return self.lab.controller(side).state_dir / "rg" / group / "vds" / vd

    def _ask(self, side: Side, question: str, *values: str) -> list[Any]:
        file = f"file:{self.database(side)}?mode=ro"
        with contextlib.closing(sqlite3.connect(file, uri=True, timeout=10)) as database:
            return database.execute(question, values).fetchall()
