"""Whose jobs a controller runs: its own, and the other one's while that one is gone.

What belongs to a controller is one *duty*, held by a lease: a controller always wants its own, and takes the other's as
soon as nobody does it. It hands the other's back when that one lives again and none of its cycles is running, by itself
or, with manual fail-back, when the administrator asks for it.
"""

import time
from collections.abc import Callable

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from qreplica.cluster.leases import Leases
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Controller, Duty, Job, JobState, Severity

#: A cycle is under way; one that waits for a path can as well wait on the other controller, which may have one.
_UNDER_WAY = (JobState.RUNNING, JobState.STOPPING)


def doer(session: Session, owner: int) -> int:
    """Return the controller that does what belongs to ``owner``; 0 (NOBODY) between two. One never told is its own."""
    duty = session.get(Duty, str(owner))
    return owner if duty is None else duty.controller


def ask_back(session: Session, owner: int) -> None:
    """Have the duty of ``owner`` handed back to it once no cycle of it is under way and it lives. Idempotent."""
    session.execute(update(Duty).where(Duty.owner == str(owner), Duty.controller != owner).values(asked_back=True))


class Duties:
    """The duties as one controller sees them. One thread asks what is ``wanted``; any may ask what is ``mine``."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        controller: int,
        *,
        takeover: float,
        automatic: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._leases = leases
        self._controller = controller
        self._other = 3 - controller
        self._takeover = takeover
        self._automatic = automatic
        self._clock = clock
        self._beat: tuple[int | None, float] | None = None

    def mine(self) -> list[int]:
        """Return the controllers whose jobs this one runs now."""
        return [owner for owner in (self._controller, self._other) if self._leases.held(str(owner)) is not None]

    def wanted(self) -> list[str]:
        """Return the duties that this controller is to have; the other's is handed back first when it is time."""
        own, other = str(self._controller), str(self._other)
        with self._database.session(read_only=True) as session:
            beat = session.scalar(select(Controller).where(Controller.number == self._other))
            lives = self._lives(None if beat is None or beat.heartbeat_at is None else beat.heartbeat)
            held = self._leases.held(other) is not None
            hand_back = held and lives and self._may_hand_back(session)
        if hand_back:
            self._leases.release(other)
        return [own] if lives and (hand_back or not held) else [own, other]

    def _lives(self, beat: int | None) -> bool:
        """Judge by whether the other's heartbeat changes, on our own clock; one that ended has none."""
        at = self._clock()
        if beat is None:
            self._beat = None
            return False
        if self._beat is None or self._beat[0] != beat:
            self._beat = (beat, at)
        return at - self._beat[1] < self._takeover

    def _may_hand_back(self, session: Session) -> bool:
        duty = session.get(Duty, str(self._other))
        if duty is None or not (self._automatic or duty.asked_back):
            return False
        under_way = select(func.count()).where(Job.controller == self._other, Job.state.in_(_UNDER_WAY))
        return not session.scalar(under_way)

    def taken(self, owner: str) -> None:
        """Write down that a duty became this controller's."""
        number = int(owner)
        kind, severity = "duty-begun", Severity.INFO
        if number == self._controller:
            message = f"Controller {number} runs its jobs itself."
        elif self._beat is None:
            message = f"Controller {self._controller} runs the jobs of controller {number}, which is not started."
        else:
            kind, severity = "taken-over", Severity.WARNING
            message = (
                f"Controller {self._controller} took over the jobs of controller {number}, which has not shown that it "
                f"lives for {self._takeover:g} s: look at its log, and start it again."
            )
        with self._database.session() as session:
            session.execute(update(Duty).where(Duty.owner == owner).values(asked_back=False))
            log.record(session, severity, kind, f"controller {number}", message, controller=self._controller)
