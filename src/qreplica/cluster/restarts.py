"""Restarts of controllers, asked for by either and done by each itself, one after the other.

A controller counts its restarts: asked for, begun, done. One is in the middle of a restart from ``begun`` until it is
ready again, and as long as that lasts the other one begins none, so that hosts always have one to go to.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.cluster import standing
from qreplica.cluster.errors import ControllerNotRunning
from qreplica.events import log
from qreplica.state.models import Controller, Severity


def ask(session: Session, number: int, mine: int) -> None:
    """Have a controller restart soon; ``mine`` is who asks. Asking again before it begins changes nothing.

    Raises ControllerNotRunning.
    """
    if not any(one.number == number and one.alive for one in standing.listing(session, mine)):
        raise ControllerNotRunning(controller=number)
    row = session.get_one(Controller, number)
    if row.restarts_asked == row.restarts_begun:
        row.restarts_asked += 1
        message = f"Controller {number} is to restart, once no other one is restarting."
        log.record(session, Severity.INFO, "restart-asked", f"controller {number}", message, controller=mine)


def ask_all(session: Session, mine: int) -> None:
    """Have every controller that runs restart, one after the other. See ``ask``."""
    for one in standing.listing(session, mine):
        if one.alive:
            ask(session, one.number, mine)


def is_due(session: Session, number: int) -> bool:
    """Whether a restart of the controller was asked for that it has not begun."""
    row = session.get_one(Controller, number)
    return row.restarts_asked > row.restarts_begun


def another_restarts(session: Session, number: int) -> bool:
    """Whether another controller is in the middle of a restart."""
    others = session.scalars(select(Controller).where(Controller.number != number))
    return any(one.restarts_begun > one.restarts_done for one in others)


def begin(session: Session, number: int) -> bool:
    """Begin the restart that is due, unless another controller is in the middle of one; return whether it begins.

    To be called in a transaction that writes: of two that try, one succeeds.
    """
    # Where a transaction that writes does not keep all others out, this does.
    session.scalars(select(Controller).order_by(Controller.number).with_for_update()).all()
    if not is_due(session, number) or another_restarts(session, number):
        return False
    started(session, number)
    message = f"Controller {number} restarts."
    log.record(session, Severity.INFO, "restart-begun", f"controller {number}", message, controller=number)
    return True


def started(session: Session, number: int) -> None:
    """Write down that what starts now serves all restarts that were asked for, whoever started it."""
    row = session.get_one(Controller, number)
    row.restarts_begun = row.restarts_asked


def ready(session: Session, number: int) -> None:
    """Write down that the controller is there again."""
    row = session.get_one(Controller, number)
    row.restarts_done = row.restarts_begun
