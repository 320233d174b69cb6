"""Ends a node's sessions for good: the heart of fencing in tgtd.

What makes it sure, each seen in tgt 1.0.85's sources and tested:

- A target whose state is offline refuses every login at its first request and starts no further command.
- A closed connection keeps its session listed until the last command that had begun has returned from the
  file.
- A login that was half done holds the tid alone, and ends in an error once no target has that.
"""

import time

from qreplica.iscsi.target import parse
from qreplica.iscsi.target.errors import FencingTimedOut, TargetCommandFailed
from qreplica.iscsi.target.mgmt import Management, Mode, Op, Refusal

_POLL = 0.002


class Deadline:
    """A point in time, ``seconds`` from its making."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._at


def end_sessions(tgtd: Management, iqn: str, tid: int, deadline: Deadline) -> None:
    """Admit nobody, close every connection, and return when no session is listed.

    No command of one can write then. Raises FencingTimedOut; the node then still admits nobody.
    """
    tgtd.request(Mode.TARGET, Op.UPDATE, "state=offline", tid=tid)
    while sessions := parse.session_numbers(tgtd.request(Mode.TARGET, Op.STAT, tid=tid)):
        for session, connection in parse.connections(tgtd.request(Mode.CONNECTION, Op.SHOW, tid=tid)):
            _close(tgtd, tid, session, connection)
        if deadline.passed:
            raise FencingTimedOut(iqn=iqn, count=len(sessions), seconds=deadline.seconds)
        time.sleep(_POLL)


def end_node(tgtd: Management, iqn: str, tid: int, deadline: Deadline) -> None:
    """End the sessions, then delete the target. Raises FencingTimedOut; the node then admits nobody.

    Never by tgtd's force option: it makes the whole daemon exit when commands run.
    """
    while True:
        end_sessions(tgtd, iqn, tid, deadline)
        try:
            tgtd.request(Mode.TARGET, Op.DELETE, tid=tid)
        except TargetCommandFailed as error:
            # A login that was half done has become a session meanwhile: it goes the same way.
            if error.fields["code"] is not Refusal.TARGET_ACTIVE:
                raise
        else:
            return


def _close(tgtd: Management, tid: int, session: int, connection: int) -> None:
    try:
        tgtd.request(Mode.CONNECTION, Op.DELETE, tid=tid, sid=session, cid=connection)
    except TargetCommandFailed as error:
        if error.fields["code"] not in {Refusal.NO_SESSION, Refusal.NO_CONNECTION}:
            raise
