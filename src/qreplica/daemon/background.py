"""What the daemon's parts that work in the background have in common: a thread each, from ``start`` to ``stop``."""

import threading
from abc import ABC, abstractmethod


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
