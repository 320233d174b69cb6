"""Keeps former owners of a job off a plain target, by persistent reservations (SPC-4, 5.12).

The owner's key carries the epoch. Whoever comes next registers its own key and preempts the one that holds the disk: a
compare-and-swap, since a preemption of a key that is no longer registered conflicts. Only who has succeeded with it, or
with the very first reservation, writes. So one that was stopped anywhere before, and wakes, cannot write one byte: its
registration is gone, or its preemption fails.
"""

from dataclasses import dataclass

from qreplica.iscsi.errors import CommandFailed, ReservationConflict
from qreplica.iscsi.initiator import Session
from qreplica.iscsi.initiator.reservations import REGISTRANTS_ONLY, Holder, Reservations, Standing
from qreplica.replication.errors import StaleOwner
from qreplica.replication.plain_errors import FenceLost, PlainTargetReserved, PlainTargetUndrained
from qreplica.replication.plain_keys import epoch_of, key_of, show

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Held:
    """The epoch whose key was last known to hold the disk, and the target's count of registrations then."""

    epoch: int
    generation: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Who takes the disk: a job, by its id and name, and the new epoch. The rest is for sentences."""

    job: str
    name: str
    epoch: int
    disk: str
    node: str
    lun: int

    @property
    def key(self) -> int:
        """The reservation key."""
        return key_of(self.job, self.epoch)


def take(session: Session, owner: Owner, held: Held | None, *, anew: bool, through_power_loss: bool) -> Held:
    """Make the owner the one who holds the disk, and end or wait for what earlier ones have queued.

    ``held`` is what the job knew last, None before it ever held the disk. ``anew``: a reservation that is gone, or was
    changed, is no reason to stop, by the administrator's word.

    Raises StaleOwner when a later epoch was here, FenceLost, PlainTargetReserved, PlainTargetUndrained, and what
    ``Session`` does.
    """
    there = session.reservations(owner.lun)
    standing = there.standing()
    if not anew and held is not None:
        _refuse_changed(standing, owner, held)
    for _ in range(_TRIES):
        _refuse_others(standing, owner)
        if standing.holder is None and held is not None and not anew:
            raise lost(owner, "its reservation is gone")
        try:
            aborted = _succeed(there, standing.holder, owner, through_power_loss=through_power_loss)
        except ReservationConflict:
            # Somebody came between; who it was is seen when looking again.
            standing = there.standing()
            continue
        _remove_former(there, owner)
        if not aborted and (anew or standing.holder is not None):
            drain(session, owner)
        check(session, owner)
        return Held(owner.epoch, there.standing().generation)
    raise PlainTargetReserved(disk=owner.disk, lun=owner.lun, node=owner.node, key=_told(standing))


def check(session: Session, owner: Owner) -> None:
    """Raise FenceLost unless the owner still holds the disk, and no stranger may write it.

    A key of an earlier epoch may be there: whoever registered it after it was overtaken never writes.
    """
    standing = session.reservations(owner.lun).standing()
    if standing.holder != Holder(owner.key, REGISTRANTS_ONLY):
        raise lost(owner, f"its reservation was taken by {_told(standing)}")
    strangers = [key for key in standing.keys if epoch_of(owner.job, key) is None]
    if strangers:
        raise lost(owner, f"another host registered {', '.join(map(show, strangers))}")


def drain(session: Session, owner: Owner) -> None:
    """Have the target end queued commands, or wait for those that it has begun: every target has to be able to.

    Raises PlainTargetUndrained when it refuses.
    """
    try:
        session.reset(owner.lun)
    except CommandFailed as error:
        raise PlainTargetUndrained(
            disk=owner.disk, lun=owner.lun, node=owner.node, reason=error.fields["sense"]
        ) from error


def let_go(session: Session, owner: Owner) -> None:
    """Give the disk back, free for anybody, after taking it. Raises as ``take`` does."""
    standing = session.reservations(owner.lun).standing()
    if any(epoch_of(owner.job, key) is not None for key in standing.keys):
        take(session, owner, None, anew=True, through_power_loss=False)
        session.reservations(owner.lun).clear(owner.key)


def lost(owner: Owner, why: str) -> FenceLost:
    """Return the error."""
    return FenceLost(disk=owner.disk, lun=owner.lun, node=owner.node, job=owner.name, why=why)


def _refuse_others(standing: Standing, owner: Owner) -> None:
    """Raise for a key that is not the job's, and for one of a later epoch."""
    holder = standing.holder
    keys = {*standing.keys, *([holder.key] if holder else [])}
    epochs = {key: epoch_of(owner.job, key) for key in keys}
    strangers = [key for key, epoch in epochs.items() if epoch is None]
    if strangers or (holder is not None and holder.kind != REGISTRANTS_ONLY):
        told = ", ".join(map(show, sorted(strangers))) or _told(standing)
        raise PlainTargetReserved(disk=owner.disk, lun=owner.lun, node=owner.node, key=told)
    if any(epoch is not None and epoch > owner.epoch for epoch in epochs.values()):
        raise StaleOwner(job=owner.job, epoch=owner.epoch)


def _refuse_changed(standing: Standing, owner: Owner, held: Held) -> None:
    """Raise FenceLost when a host could have written since the job held the disk last, though it holds it still.

    A host that registered, wrote and took its registration back left only a higher generation. It is compared while the
    key is the one that was held when it was noted. It is 0 after a loss of power (SPC-4, 6.15.2), which a reservation
    may outlive. An owner that was overtaken just before it registered has counted one more, and left its key.
    """
    holder = standing.holder
    same = holder is not None and epoch_of(owner.job, holder.key) == held.epoch
    late = sum(key_of(owner.job, held.epoch) != key for key in standing.keys)
    if same and standing.generation not in {0, held.generation + late}:
        raise lost(owner, "another host registered with it in between")


def _succeed(there: Reservations, before: Holder | None, owner: Owner, *, through_power_loss: bool) -> bool:
    """Take over from who holds the disk; return whether the target has aborted that one's commands.

    Raises ReservationConflict when somebody was quicker.
    """
    there.register_whatever(owner.key, through_power_loss=through_power_loss)
    if before is None:
        there.reserve(owner.key)
        return False
    now = there.standing().holder
    if now is not None and now.key == owner.key:
        # The target takes this session for the very port that held it, whose key was just replaced.
        return False
    return there.preempt(owner.key, before.key)


def _remove_former(there: Reservations, owner: Owner) -> None:
    """Take the registrations of earlier owners away that did not hold the disk."""
    for key in there.standing().keys:
        epoch = epoch_of(owner.job, key)
        if epoch is not None and epoch < owner.epoch:
            try:
                there.preempt(owner.key, key)
            except ReservationConflict:
                continue  # it has gone by itself


def _told(standing: Standing) -> str:
    holder = standing.holder
    keys = [holder.key] if holder else list(standing.keys)
    return ", ".join(map(show, sorted(keys))) or "nobody"
