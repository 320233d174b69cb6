"""One lock per iSCSI node, shared by all that change how a controller's target daemon serves it.

Whoever reads a node's desired state and then applies it holds the lock around both: otherwise a state that was read
before a claim could be applied after it, and admit again whom the claim has cut off.

The order of all that is waited for, each only while one holds nothing that stands after it:

1. the lock of roll-backs (``daemon.letting_go``), which both controllers share;
2. the lock of one node; nobody holds two;
3. the serving lock of one target daemon (``daemon.other_controller``), of one's own within 2, of the other's without;
4. a transaction of the state, or the locks of the storage engine; within these one may read the state.
"""

import contextlib
import threading
from collections.abc import Iterator


class NodeLocks:
    """The locks of this process, made when first needed."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def hold(self, iqn: str) -> Iterator[None]:
        """Hold the node's lock; the thread that holds it may take it again."""
        with self._guard:
            lock = self._locks.setdefault(iqn, threading.RLock())
        with lock:
            yield
