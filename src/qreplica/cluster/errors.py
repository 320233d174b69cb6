"""Errors of the cluster package."""

from qreplica.errors import Conflict


class LeaseLost(Conflict):
    """A controller acts for what is no longer its own."""

    kind = "lease-lost"
    template = (
        "Controller {controller} may no longer act for {key} because its lease, term {term}, has passed to another "
        "holder: nothing was changed, and the present holder goes on."
    )


class ControllerNotRunning(Conflict):
    """A controller that does not run cannot restart."""

    kind = "controller-not-running"
    template = "Controller {controller} cannot be restarted because it does not run: start its qreplicad."
