"""What the daemon's parts that work in the background have in common: a thread each, from ``start`` to ``stop``."""

import threading
from abc import ABC, abstractmethod

import structlog

from qreplica.errors import QReplicaError

_log = structlog.get_logger(__name__)


class Background(ABC):
    """A part with a thread, of that ``name``, which goes on until ``_ending`` is set. It never outlives the daemon."""

    def __init__(self, name: str) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is under way just now. Idempotent; one that never began may be stopped too."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until ``_ending`` is set."""


class Regular(Background):
    """One that does a ``round`` every so many seconds, beginning at once or after the first of them.

    A round that fails is logged under ``failing``; what was not done then is for the next one.
    """

    def __init__(self, name: str, every: float, failing: str, *, at_once: bool = False) -> None:
        super().__init__(name)
        self._every = every
        self._failing = failing
        self._at_once = at_once

    @abstractmethod
    def round(self) -> bool | None:
        """Do it once; return True when another round is to follow at once."""

    def _run(self) -> None:
        more = self._at_once
        while not self._ending.wait(0 if more else self._every):
            try:
                more = self.round() is True
            except QReplicaError as error:
                more = False
                _log.warning(self._failing, reason=error.sentence)
