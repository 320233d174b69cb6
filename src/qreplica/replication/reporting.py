"""How a worker tells how far it is."""

from collections.abc import Callable

from qreplica.replication.progress import Rate, peak_memory
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Progress
from qreplica.state.models import Severity

#: How many times as long as a report took to write the next one is put off at least, and at most how many seconds.
_PAUSES, _LONGEST_PAUSE = 20, 10.0


class Report:
    """Persists progress, and tells once that it compares; what ``check`` raises ends the transfer.

    ``done`` bytes were done before.

    A worker that writes waits for all others that do, and sends nothing meanwhile. So the longer a report took, the
    longer the next is put off: many jobs at once would otherwise do little else than wait for each other's reports.
    """

    def __init__(
        self,
        store: JobStore,
        tell: Callable[[Severity, str, str], None],
        clock: Callable[[], float],
        done: int,
        check: Callable[[], None],
    ) -> None:
        self._store = store
        self._tell = tell
        self._check = check
        self._clock = clock
        self._rate = Rate(clock(), done)
        self._told: Progress | None = None
        self._not_before = clock()

    def __call__(self, progress: Progress) -> None:
        """Look, which waits for nobody, and write if it is time."""
        self._check()
        if self._clock() >= self._not_before:
            self._write(progress)

    def complete(self, progress: Progress) -> None:
        """Persist what was put off."""
        if progress != self._told:
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        began = self._clock()
        rate = self._rate.update(began, progress.done)
        told, self._told = self._told, progress
        sent, compared = progress.sent, progress.compared
        if told is not None:
            sent, compared = sent - told.sent, compared - told.compared
        if compared and not (told and told.compared):
            what = "It compares the copy with what the target holds already, and sends only what differs."
            self._tell(Severity.INFO, "cycle-compares", what)
        self._store.progress(done=progress.done, sent=sent, compared=compared, rate=rate, peak_memory=peak_memory())
        ended = self._clock()
        self._not_before = ended + min(_PAUSES * (ended - began), _LONGEST_PAUSE)
