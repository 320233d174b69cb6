"""How this controller cuts owners off on the other one, which shares the database and the machine (rule 4).

It ends the node in the other's target daemon, whose own daemon makes it anew from the database, where the decision
already stands; hosts of other nodes notice nothing. A target daemon in which that does not succeed soon, or whose own
daemon hangs, is ended instead: the new one's portals open last.

A VD that is held back is let go of without either: the other's own daemon does so.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select as select_rows

from qreplica.daemon import asking
from qreplica.daemon.file_lock import holding
from qreplica.errors import QReplicaError, Unavailable
from qreplica.iscsi.target.driver import NodeSpec, TargetSession
from qreplica.iscsi.target.ending import Deadline, end_node
from qreplica.iscsi.target.errors import TargetDaemonDown
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.pause import running_tgtd
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.state.database import Database
from qreplica.state.models import Node

_END_SECONDS = 30.0
#: How long the other's daemon may take to let go of a file, or to take it up again.
_LET_GO_SECONDS = 30.0
_POLL = 0.05
#: How long it may take to end a node before the whole target daemon is ended.
_GENTLE_SECONDS = 5.0


class OtherTargetHangs(Unavailable):
    """The other controller's target daemon was killed and is still there."""

    kind = "other-target-hangs"
    template = (
        "The target daemon of controller {controller} (process {pid}) was killed and has not ended after {seconds:.0f} "
        "s, so a write of it hangs: look at the disks, and try again."
    )


class OtherTargetSlow(Unavailable):
    """The other controller does not serve a VD again."""

    kind = "other-target-slow"
    template = (
        "Controller {controller} has not served the virtual disk again within {seconds:.0f} s: it does so by itself; "
        "otherwise its events tell what keeps it from it."
    )


class OtherController:
    """Stands for the other controller's target daemon; ``pid_file`` is that one's. See replication.recovery."""

    def __init__(
        self, database: Database, number: int, pid_file: Path, let_go_seconds: float = _LET_GO_SECONDS
    ) -> None:
        self._database = database
        self._number = number
        self._pid_file = pid_file
        self._let_go_seconds = let_go_seconds

    def let_go(self, file: Path) -> None:
        """Return when its target daemon does not have the file, that of a VD held back, open, nor will open it.

        One that its own daemon does not bring so far is ended: a new one opens its portals once it is in line with the
        database. Raises OtherTargetHangs.
        """
        deadline = time.monotonic() + self._let_go_seconds
        asking.ask(self._pid_file)
        while True:
            # Whoever was at work on what the database said before has ended that.
            with holding(asking.serving_lock(self._pid_file), deadline - time.monotonic()) as quiet:
                if quiet and not self._has_open(file):
                    return
            if time.monotonic() >= deadline:
                self._end(_END_SECONDS)
                return
            time.sleep(_POLL)

    def take_up(self, file: Path) -> None:
        """Return when its target daemon, if it runs, has the file open: its own daemon sees to that, within seconds.

        Raises OtherTargetSlow when that takes longer.
        """
        deadline = time.monotonic() + self._let_go_seconds
        asking.ask(self._pid_file)
        while running_tgtd(self._pid_file) is not None and not self._has_open(file):
            if time.monotonic() >= deadline:
                raise OtherTargetSlow(controller=self._number, seconds=self._let_go_seconds)
            time.sleep(_POLL)

    def _has_open(self, file: Path) -> bool:
        pid = running_tgtd(self._pid_file)
        if pid is None:
            return False
        found = file.stat()
        return any((one.st_dev, one.st_ino) == (found.st_dev, found.st_ino) for one in _opened(pid))

    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """Cut off every session of the node; on return no command of one can still write. Raises OtherTargetHangs."""
        self._end_node(spec.iqn, timeout)

    def remove_node(self, iqn: str) -> None:
        """See ``fence_node``."""
        self._end_node(iqn, _END_SECONDS)

    def apply_node(self, spec: NodeSpec) -> None:
        """Have the files of its LUNs opened anew: one that was opened meanwhile may be another by now."""
        self._end_node(spec.iqn, _END_SECONDS)

    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return who is logged in to the node there; nobody is while its target daemon is down. Raises NodeMissing."""
        try:
            management = self._management()
            return [] if management is None else TgtDriver(management).sessions(iqn)
        except TargetDaemonDown:
            # It has just ended.
            return []

    def nodes(self) -> dict[str, int]:
        """Return what its own daemon serves, now or as soon as it is back."""
        with self._database.session(read_only=True) as session:
            return {node.iqn: node.tid for node in session.scalars(select_rows(Node))}

    def _end_node(self, iqn: str, timeout: float) -> None:
        # With the lock its own daemon is not at work on what the database said before; its next look finds the news.
        with holding(asking.serving_lock(self._pid_file), min(timeout, _GENTLE_SECONDS)) as quiet:
            ended = quiet and self._has_ended_node(iqn, min(timeout, _GENTLE_SECONDS))
            if not ended:
                self._end(timeout)
        asking.ask(self._pid_file)

    def _has_ended_node(self, iqn: str, timeout: float) -> bool:
        """End the node if the target daemon does so in time; return whether it is gone."""
        try:
            management = self._management()
            tid = None if management is None else TgtDriver(management).nodes().get(iqn)
            if management is not None and tid is not None:
                # Not by the driver: this one does not know which accounts the other nodes need.
                end_node(management, iqn, tid, Deadline(timeout))
        except QReplicaError:
            return False
        return True

    def _management(self) -> Management | None:
        """Return how to speak to its target daemon, None when it does not run."""
        pid = running_tgtd(self._pid_file)
        if pid is None:
            return None
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            return Management(int(arguments[arguments.index("-C") + 1]), _GENTLE_SECONDS)
        except (OSError, ValueError):
            # It has just ended.
            return None

    def _end(self, timeout: float) -> None:
        pid = running_tgtd(self._pid_file)
        if pid is None:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor cannot come to mean another process, so what is killed is the tgtd that is still there.
            if running_tgtd(self._pid_file) == pid:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if not select.select([pidfd], [], [], timeout)[0]:
                    raise OtherTargetHangs(controller=self._number, pid=pid, seconds=timeout)
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)


def _opened(pid: int) -> Iterator[os.stat_result]:
    """Give what the process has open; nothing more once it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield descriptor.stat()
