"""Our own engine, set up as a worker sets it up."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lun import NUMBER, Lun
from qreplica.replication.progress import peak_memory
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Progress, Settings, Transfer
from qreplica.storage.driver import BLOCK, Extent, ExtentKind

_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Engine:
    """Copies a file of ``size`` bytes to a LUN, or only some ``blocks`` of it; checkpoints go into the store."""

    lun: Lun
    source: Path
    size: int
    store: JobStore
    settings: Settings = field(default_factory=Settings)
    blocks: tuple[int, ...] | None = None

    def copy(self) -> None:
        """Log in, send everything, flush, persist the last checkpoint, and log out."""
        source = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.lun.connect() as session:
                transfer = Transfer(
                    session,
                    NUMBER,
                    source,
                    self._extents(),
                    end=self.size,
                    stop=threading.Event(),
                    on_checkpoint=lambda at: self.store.checkpoint(at.checkpoint, at.done),
                    on_progress=self._report,
                    settings=self.settings,
                )
                transfer.run()
                transfer.seal()
        finally:
            os.close(source)

    def _extents(self) -> list[Extent]:
        if self.blocks is None:
            return [Extent(0, self.size, ExtentKind.DATA)]
        return [Extent(block * BLOCK, BLOCK, ExtentKind.DATA) for block in sorted(self.blocks)]

    def _report(self, progress: Progress) -> None:
        self.store.progress(done=progress.done, sent=0, rate=0.0, peak_memory=peak_memory())


def without_checkpoints() -> Settings:
    """Return settings by which only the last flush makes a checkpoint."""
    return Settings(checkpoint_bytes=_NEVER, checkpoint_seconds=_NEVER)
