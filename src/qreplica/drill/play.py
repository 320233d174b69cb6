"""Plays a drill: the host writes, a cycle runs, the fault comes, the cycle ends all the same; bytes are compared."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from qreplica.drill import flipping, host, host_process, judge, promotion, way_home
from qreplica.drill.drills import AT_EVERY_STEP, DRILLS, FAILBACK, FLIPPED, PLANNED, PROMOTIONS, RETURNING, Drill
from qreplica.drill.errors import FaultTooLate
from qreplica.drill.host import Found
from qreplica.drill.stage import NAME, PATTERN_BLOCKS, Stage
from qreplica.lab.ledger import CycleNow
from qreplica.lab.parts import kill
from qreplica.lab.topology import CONTROLLERS, Side
from qreplica.state.models import Step

_PROGRESS = 1 << 20
_SETTLE = 1.0
_TRIES = 3
#: Steps in which a worker can be met; the last one is over in an instant.
_STEPS = (Step.SNAPSHOT, Step.DELTA, Step.TRANSFER, Step.FLUSH, Step.COMMIT)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a drill: ``wrong`` are sentences, nothing if every byte is right.

    ``resume_seconds`` is the time from the fault until data was on its way again, None if it never stopped;
    ``first_write_seconds`` from the word to promote the copy until a host had written to it.
    """

    name: str
    wrong: tuple[str, ...]
    resume_seconds: float | None = None
    resent_bytes: int | None = None
    host_pause_seconds: float = 0.0
    host_writes: int = 0
    seconds: float = 0.0
    first_write_seconds: float | None = None
    played: bool = True

    @classmethod
    def stuck(cls, name: str, sentence: str) -> "Result":
        """Return that of a drill that could not be played to its end."""
        return cls(name, (sentence,), played=False)

    @property
    def ok(self) -> bool:
        """Whether every byte is right."""
        return not self.wrong

    def as_json(self) -> dict[str, object]:
        """Return it under the names that scripts know."""
        return {
            "name": self.name,
            "ok": self.ok,
            "resume_seconds": self.resume_seconds,
            "resent_bytes": self.resent_bytes,
            "host_pause_seconds": self.host_pause_seconds,
            "host_writes": self.host_writes,
            "seconds": self.seconds,
            "first_write_seconds": self.first_write_seconds,
            "wrong": list(self.wrong),
        }


def play(stage: Stage, name: str) -> Result:
    """Play one drill. Raises DrillStuck, HostFailed."""
    stage.drill = name
    for _ in range(_TRIES):
        result = _play(stage, name)
        if result is not None:
            return result
        stage.tell(f"{name}: the cycle was over before the fault came; once more")
    raise FaultTooLate(drill=name, tries=_TRIES)


def _play(stage: Stage, name: str) -> Result | None:
    """Return None when the fault came too late to mean anything."""
    began = time.monotonic()
    if name in PROMOTIONS:
        return _promote(stage, name, began)
    if name == PLANNED:
        return _planned(stage, began)
    with _host(stage) as (_, stop):
        if name == AT_EVERY_STEP:
            interrupted = _Interrupted()
            _kill_at_every_step(stage)
        elif name == FLIPPED:
            interrupted = _Interrupted()
            _flip(stage)
        else:
            if DRILLS[name].for_copies:
                stage.side[Side.SOURCE]("job", "start", NAME, "--yes", "--follow")
            interrupted = _interrupt(stage, DRILLS[name])
        stage.restore()
        # Whoever woke up late has had his chance to do harm.
        time.sleep(_SETTLE)
        found = stop()
    wrong = judge.verdict(stage.parts.ledger, NAME, found) + stage.findings
    stage.findings = []
    if interrupted.too_late and not wrong:
        return None
    took = round(time.monotonic() - began, 1)
    seconds, resent = interrupted.resume_seconds, interrupted.resent_bytes
    return Result(name, tuple(wrong), seconds, resent, found.pause_seconds, found.writes, took)


def _flip(stage: Stage) -> None:
    stage.tell(f"{FLIPPED}: bits of the copy are flipped, found by a verification, and repaired")
    stage.side[Side.SOURCE]("job", "start", NAME, "--yes", "--follow")
    stage.findings += flipping.play(stage)


def _promote(stage: Stage, name: str, began: float) -> Result:
    dies = PROMOTIONS[name]
    how = "both controllers of the source are killed in a cycle" if dies else "in the middle of a cycle"
    stage.tell(f"{name}: {how}, and a host goes on with the copy")
    with _host(stage) as (_, stop):
        stage.side[Side.SOURCE]("job", "start", NAME, "--yes", "--follow")
        stop()
    with _host(stage) as (_, stop):
        stage.side[Side.SOURCE]("job", "start", NAME, "--yes")
        stage.until("data to be on its way", lambda: _under_way(stage))
        changes = way_home.CHANGES if name == FAILBACK else 0
        wrong, first_write = promotion.play(stage, source_dies=dies, changes=changes)
        # It has written to the old source all the while, as far as that was there.
        wrong += judge.of_host(stop())
    if name in {RETURNING, FAILBACK}:
        wrong += way_home.give_way(stage)
    if name == FAILBACK:
        wrong += way_home.come_home(stage)
    took = round(time.monotonic() - began, 1)
    stage.set_up()
    return Result(name, tuple(wrong), seconds=took, first_write_seconds=first_write)


def _planned(stage: Stage, began: float) -> Result:
    stage.tell(f"{PLANNED}: a host that writes all the while is moved to the copy, and the roles are swapped")
    with _host(stage, promotion.taker_place(stage)) as (process, stop):
        stage.side[Side.SOURCE]("job", "start", NAME, "--yes", "--follow")
        first_write = promotion.play_planned(stage, process)
        found = stop()
    wrong = judge.of_host(found) + promotion.judge_planned(stage)
    took = round(time.monotonic() - began, 1)
    stage.set_up()
    return Result(
        PLANNED,
        tuple(wrong),
        host_pause_seconds=found.pause_seconds,
        host_writes=found.writes,
        seconds=took,
        first_write_seconds=first_write,
    )


@dataclass(frozen=True, slots=True)
class _Interrupted:
    """What the fault did to the cycle; ``too_late``: nothing, since that was over."""

    resume_seconds: float | None = None
    resent_bytes: int | None = None
    too_late: bool = False


def _interrupt(stage: Stage, drill: Drill) -> _Interrupted:
    stage.tell(f"{drill.name}: {drill.what}")
    stage.side[Side.SOURCE]("job", "start", NAME, "--yes")
    before = stage.until("data to be on its way", lambda: _under_way(stage))
    active = stage.active()
    reached = max(before.done_bytes, *map(stage.written, CONTROLLERS))
    fault = time.monotonic()
    found = _Interrupted()
    with drill.fault(stage, active):
        if drill.interrupts and not drill.mended_first:
            found = _resumed(stage, before, fault, reached)
        if not drill.mended_first:
            _finished(stage, before)
    if drill.mended_first:
        if drill.interrupts:
            found = _resumed(stage, before, fault, reached)
        _finished(stage, before)
    return found


def _under_way(stage: Stage) -> CycleNow | None:
    """Return the cycle once it has sent some of its data, and not all."""
    cycle = stage.cycle()
    if cycle.step != Step.TRANSFER.value or not any(stage.written(number) > _PROGRESS for number in CONTROLLERS):
        return None
    return cycle


def _resumed(stage: Stage, before: CycleNow, fault: float, reached: int) -> _Interrupted:
    """Wait for the next attempt; return the seconds since the fault, and the bytes that are sent again."""

    def look() -> CycleNow | None:
        cycle = stage.cycle()
        return cycle if cycle.resumes > before.resumes or cycle.outcome else None

    cycle = stage.until("another attempt to go on", look)
    if cycle.resumes == before.resumes:
        return _Interrupted(too_late=True)
    return _Interrupted(round(time.monotonic() - fault, 2), max(0, reached - cycle.done_bytes))


def _finished(stage: Stage, before: CycleNow) -> None:
    def look() -> bool:
        cycle = stage.cycle()
        return cycle.generation == before.generation and cycle.outcome == "committed" and cycle.state == "idle"

    stage.until("the cycle to be committed", look)


def _kill_at_every_step(stage: Stage) -> None:
    """Kill the worker in each step of a cycle in turn, and the whole controller in each step after that."""
    stage.tell(f"{AT_EVERY_STEP}: the worker, then its controller, is killed in each step of a cycle")
    for whole in (False, True):
        stage.side[Side.SOURCE]("job", "start", NAME, "--yes")
        before = stage.cycle()
        for step in _STEPS:
            met = stage.until(f"step {step}", partial(_in, stage, step))
            if met == "over":
                break
            number = next(iter(stage.parts.ledger.duties(Side.SOURCE)), 1) or 1
            kill(*(stage.parts.daemon(Side.SOURCE, number) if whole else stage.parts.workers(number)))
            if whole:
                stage.restore()
        _finished(stage, before)


def _in(stage: Stage, step: Step) -> str | None:
    cycle = stage.cycle()
    if cycle.outcome is not None:
        return "over"
    order = [one.value for one in Step]
    return "met" if order.index(cycle.step) >= order.index(step.value) else None


@contextmanager
def _host(
    stage: Stage, moves_to: host.Place | None = None
) -> Iterator[tuple[host_process.HostProcess, Callable[[], Found]]]:
    """Run the host, which has filled its disk by then; give it, and what stops it and returns what it found."""
    portals = [stage.lab.controller(Side.SOURCE, number).ports[0].address for number in CONTROLLERS]
    request = host.Request(
        portals=portals, node=stage.host_node, fill=stage.fill, blocks=PATTERN_BLOCKS, moves_to=moves_to
    )
    with host_process.running(stage.lab, host.__name__, request) as process:

        def stop() -> Found:
            process.hang_up()
            return Found.model_validate_json(process.line())

        process.line()
        yield process, stop
