"""Brings a lab up, tells its state, and takes it down."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from pydantic import BaseModel, ValidationError

from qreplica.daemon import config
from qreplica.lab import administration, daemons, namespaces, preflight
from qreplica.lab.errors import LabExists, LabMissing
from qreplica.lab.licensing import Vendor
from qreplica.lab.owner import Owner, hand_over, keep, make_owned, runs
from qreplica.lab.processes import find, marked_by
from qreplica.lab.storage_left import mounts
from qreplica.lab.sweep import FIRST_NAMESPACES, sweep
from qreplica.lab.topology import DEFAULT_ID, PREFERRED_MANAGEMENT_PORTS, TESTS, Controller, Lab, Side

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PortState:
    """A port as it is."""

    number: int
    address: str
    cable: bool


@dataclass(frozen=True, slots=True)
class ControllerState:
    """A controller as it is; one without a ``url`` is wired but not started."""

    subsystem: str
    number: int
    namespace: str
    pid: int | None
    url: str | None
    ports: tuple[PortState, ...]


class _Started(BaseModel):
    """A daemon that ``up`` started."""

    subsystem: Side
    number: int
    url: str
    pid: int


class _Facts(BaseModel):
    """What ``up`` writes down for those that come later."""

    daemons: list[_Started] = []

    @property
    def urls(self) -> dict[Side, str]:
        """Where controller 1 of each subsystem is managed."""
        return {one.subsystem: one.url for one in self.daemons if one.number == 1}


def up(lab: Lab, tell: Tell, prepare: Callable[[], None] = lambda: None, *, licensed: bool = True) -> dict[Side, str]:
    """Make the lab and run both controllers of each subsystem; return the first ones' URLs.

    The caller owns it until ``keep``. ``prepare`` is called when there is its directory, and no daemon yet. Unless
    ``licensed``, the subsystems begin without a license key, which the lab's vendor can then issue.

    What a dead launcher left of the same lab is removed first. Raises LabCannotBe, LabExists, CommandFailed,
    DaemonNotReady; what was made by then is removed again.
    """
    preflight.check(lab.directory)
    owner = Owner.of(lab.directory)
    if lab.directory.exists() and (owner is None or owner.alive):
        raise LabExists(id=lab.id, directory=lab.directory)
    sweep(lab)
    try:
        make_owned(lab.directory)
    except FileExistsError as error:
        raise LabExists(id=lab.id, directory=lab.directory) from error
    try:
        prepare()
        return _build(lab, tell, licensed=licensed)
    except BaseException:
        sweep(lab)
        raise


def let_stay(lab: Lab) -> None:
    """Let the lab outlive this process, until ``down``; one of a test run goes with that run."""
    if lab.root == TESTS:
        hand_over(lab.directory)
    else:
        keep(lab.directory)


@contextlib.contextmanager
def passing(lab: Lab, tell: Tell, *, licensed: bool = True) -> Iterator[dict[Side, str]]:
    """Bring a lab up for the length of a block. See ``up``."""
    urls = up(lab, tell, licensed=licensed)
    try:
        yield urls
    finally:
        down(lab)


def down(lab: Lab) -> None:
    """Remove the lab, whatever is left of it. Idempotent. Raises SweepIncomplete."""
    facts = _facts(lab)
    sweep(lab)
    administration.forget_logins(lab, list(facts.urls.values()))
    for one in facts.daemons:
        daemons.forget(one.pid)


def urls(lab: Lab) -> dict[Side, str]:
    """Return where each subsystem's management is. Raises LabMissing."""
    known = _facts(lab).urls
    if not known:
        raise LabMissing(id=lab.id)
    return known


def start_again(lab: Lab, controller: Controller) -> None:
    """Start a controller's daemon whose process has ended; return when it is ready. Raises DaemonNotReady."""
    facts = _facts(lab)
    (one,) = (found for found in facts.daemons if (found.subsystem, found.number) == _key(controller))
    daemons.forget(one.pid)
    one.pid = daemons.start(controller, daemons.listen(int(one.url.rpartition(":")[2])))
    lab.facts_file.write_text(facts.model_dump_json() + "\n")
    daemons.wait_until_ready(controller, one.pid)


def _key(controller: Controller) -> tuple[Side, int]:
    return controller.subsystem, controller.number


def check_daemons(lab: Lab) -> None:
    """Raise DaemonNotReady if a subsystem of the lab has no daemon any more."""
    started = _facts(lab).daemons
    for subsystem in Side:
        first, *others = [one for one in started if one.subsystem == subsystem]
        if not any(runs(one.pid) for one in others):
            daemons.check(lab.controller(subsystem, first.number), first.pid)


def state(lab: Lab) -> list[ControllerState]:
    """Return what the lab's controllers do. Raises LabMissing."""
    urls(lab)  # or it is not up
    known = {(one.subsystem, one.number): one.url for one in _facts(lab).daemons}
    pids = daemon_pids(lab)
    return [
        ControllerState(
            controller.subsystem,
            controller.number,
            controller.namespace,
            pids.get(str(controller.config_file)),
            known.get((controller.subsystem, controller.number)),
            tuple(
                PortState(port.number, port.address, namespaces.has_carrier(controller, port.number))
                for port in controller.ports
            ),
        )
        for controller in lab.controllers
    ]


def daemon_pids(lab: Lab) -> dict[str, int]:
    """Return the pids of the daemons that run, by their configuration files, which workers are given too."""
    return {
        config: found.pid
        for found in find(marked_by(lab.directory, []))
        if (config := found.option_after.get("--config")) and "--parent" not in found.option_after
    }


def as_json(states: list[ControllerState]) -> str:
    """Return ``state`` as JSON."""
    return json.dumps([asdict(one) for one in states], indent=2)


def _build(lab: Lab, tell: Tell, *, licensed: bool) -> dict[Side, str]:
    tell("Laying six network namespaces: switch, host, and two controllers for each subsystem")
    if not any(mount.point == namespaces.NETNS for mount in mounts()):
        (lab.directory / FIRST_NAMESPACES).touch()
    namespaces.build(lab)
    administration.make_password(lab)
    vendor = Vendor(lab.vendor_public_key)
    vendor.make_keys()
    tell("Starting both controllers of both subsystems")
    facts = _Facts()
    for controller in lab.controllers:
        daemons.configure(controller)
        if licensed and controller.number == 1:
            vendor.license_state(config.load(controller.config_file))
        preferred = PREFERRED_MANAGEMENT_PORTS.get(controller.subsystem) if controller.number == 1 else None
        listener = daemons.listen(preferred if lab.id == DEFAULT_ID else None)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        pid = daemons.start(controller, listener)
        facts.daemons.append(_Started(subsystem=controller.subsystem, number=controller.number, url=url, pid=pid))
    lab.facts_file.write_text(facts.model_dump_json() + "\n")
    for one in facts.daemons:
        daemons.wait_until_ready(lab.controller(one.subsystem, one.number), one.pid)
    for subsystem, url in facts.urls.items():
        tell(f"Setting up “{subsystem}” with {administration.DISKS} disks")
        administration.set_up(lab.controller(subsystem), url)
    return facts.urls


def _facts(lab: Lab) -> _Facts:
    try:
        return _Facts.model_validate_json(lab.facts_file.read_text())
    except (OSError, ValidationError):  # ``up`` came not so far
        return _Facts()
