"""The session that carries a job's data to a plain target.

Zeros go as data. WRITE SAME would be quicker, and a thin disk would stay thin, but not every target makes it obey a
reservation (tgtd does not), and what unmapped blocks read as is not always promised.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from qreplica.iscsi.errors import ReservationConflict
from qreplica.iscsi.initiator import Buffer, Capacity, Completion, Designator, Session
from qreplica.replication import plain_disks, plain_fence
from qreplica.replication.plain_fence import Owner
from qreplica.units import MIB

_MOST_ZEROS = MIB


class PlainSession:
    """A session whose owner holds the disk. ``closed`` is told at the end whether it ended in order."""

    #: A transfer counts and throttles them.
    zeros_are_data = True

    def __init__(self, session: Session, owner: Owner, closed: Callable[[bool], None], *, fenced: bool) -> None:
        self._session = session
        self._owner = owner
        self._closed = closed
        self._fenced = fenced
        self._zeros = Buffer(_MOST_ZEROS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.logout()
        self._closed(kind is None)

    def serial(self, lun: int) -> str:
        """Return the disk's identity, once it is sure that it is still the owner's. Raises FenceLost."""
        if self._fenced:
            plain_fence.check(self._session, self._owner)
        return plain_disks.identity_of(self._session.identification(lun)) or ""

    def identification(self, lun: int) -> list[Designator]:
        """See Session."""
        return self._session.identification(lun)

    def capacity(self, lun: int) -> Capacity:
        """See Session."""
        return self._session.capacity(lun)

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        """Make a range read as zeros."""
        for at in range(offset, offset + length, _MOST_ZEROS):
            self._session.write(lun, at, bytes(min(_MOST_ZEROS, offset + length - at)))

    def submit_write(  # noqa: PLR0917 - Session's signature
        self, tag: int, lun: int, offset: int, buffer: Buffer, length: int, start: int = 0
    ) -> None:
        """See Session."""
        self._session.submit_write(tag, lun, offset, buffer, length, start)

    def submit_zeros(self, tag: int, lun: int, offset: int, length: int) -> None:
        """Queue a write of zeros."""
        self._session.submit_write(tag, lun, offset, self._zeros, length)

    def submit_flush(self, tag: int, lun: int) -> None:
        """See Session."""
        self._session.submit_flush(tag, lun)

    def most_transfer(self, lun: int) -> int:
        """See Session."""
        return self._session.most_transfer(lun)

    def most_zeros(self, lun: int) -> int:
        """Return the most bytes of one ``submit_zeros``."""
        return min(_MOST_ZEROS, self._session.most_transfer(lun))

    def poll(self, timeout: float) -> list[Completion]:
        """See Session. A write that the reservation refuses is told as FenceLost."""
        return [self._explained(one) for one in self._session.poll(timeout)]

    def _explained(self, one: Completion) -> Completion:
        if not isinstance(one.error, ReservationConflict):
            return one
        return Completion(one.tag, plain_fence.lost(self._owner, "the target refused a write of the job"))
