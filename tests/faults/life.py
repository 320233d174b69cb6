"""What goes on while the crash comes: a host writes, an administrator works, the job replicates, all at once."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from qreplica.errors import QReplicaError
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

from .boxes import SIZE, STATES, Boxes, digest
from .pattern import Ledger
from .writer import Writer

_STAY = {"v1", "r1"}
_KEPT = 2  # snapshots and VDs that an administrator keeps


@dataclass
class Things:
    """Objects by name: those that are there for sure, and those about to come or go.

    What is begun is only taken from ``begun`` when the answer is there, so that a copy of both tells what must be.
    """

    there: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Moment:
    """What is known at an instant. Taken before it, it is what must be there; taken after it, what may be."""

    durable: list[int]
    acknowledged: list[int]
    issued: list[int]
    things: dict[str, Things]
    sizes: dict[str, int]
    asked: dict[str, int]
    rolled: int
    rolls: list[str]
    generation: int


@dataclass
class Life:
    """Goes on from ``begin`` to ``end``; everything random comes from ``seed``.

    ``ledger`` and ``digests`` (of snapshots, by id) outlive crashes.
    """

    boxes: Boxes
    seed: int
    ledger: Ledger = field(default_factory=lambda: Ledger(SIZE // BLOCK))
    digests: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    _number: int = 0
    _things: dict[str, Things] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)
    #: The snapshots that “r1” was rolled back to, and to how many of them for sure.
    _rolls: list[str] = field(default_factory=lambda: [STATES[-1]])
    _rolled: int = 1
    _stop: threading.Event = field(default_factory=threading.Event)
    _failures: list[BaseException] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Start all of it. What snapshots and VDs there are is asked."""
        self._stop.clear()
        self._failures.clear()
        call = self.boxes.source.call
        self._things = {
            "snapshot": Things(self.snapshots()),
            "vd": Things({one["name"] for one in call("GET", "/virtual-disks")}),
        }
        self._sizes = {one["name"]: one["size"] for one in call("GET", "/virtual-disks")}
        self._asked = dict(self._sizes)
        works: tuple[Callable[[random.Random], None], ...] = (self._write, self._administer, self._replicate)
        self._threads = [
            threading.Thread(target=self._run, args=(work, random.Random(f"{self.seed} {work.__name__}")))
            for work in works
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            work(chance)
        except BaseException as error:  # noqa: BLE001 - raised again by ``end``
            self._failures.append(error)

    def end(self, *, crashed: bool = False) -> None:
        """End it, the cycle under way finished; raise what failed. After a crash lost connections are no failure."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seed += 1
        for failure in self._failures:
            if not (crashed and isinstance(failure, httpx.TransportError | QReplicaError)):
                raise failure

    def now(self) -> Moment:
        """Return what is known now."""
        things = {kind: Things(set(one.there), set(one.begun)) for kind, one in self._things.items()}
        ledger = self.ledger
        return Moment(
            list(ledger.durable),
            list(ledger.acknowledged),
            list(ledger.issued),
            things,
            dict(self._sizes),
            dict(self._asked),
            self._rolled,
            list(self._rolls),
            self.generation,
        )

    def _write(self, chance: random.Random) -> None:
        with self.boxes.log_in() as session:
            Writer(session, self.ledger, chance).run(self._stop)

    # The administrator.

    def _administer(self, chance: random.Random) -> None:
        """Take and delete snapshots; make, extend, roll back and delete VDs."""
        steps = (
            *(self._snapshot, self._snapshot, self._delete_snapshot),
            *(self._make_vd, self._extend_vd, self._extend_vd, self._delete_vd, self._roll_back),
        )
        while not self._stop.is_set():
            chance.choice(steps)(chance)

    def _snapshot(self, chance: random.Random) -> None:
        if len(self._things["snapshot"].there) > 2 * _KEPT:
            self._delete_snapshot(chance)
            return
        name = self._begin("snapshot", "s")
        made = self.boxes.source.call("POST", "/snapshots", {"vd": "v1", "name": name}, expect=201)
        self._is_there("snapshot", name)
        self.digests[made["id"]] = digest(self.boxes.source.snapshot(made["id"]))

    def _delete_snapshot(self, chance: random.Random) -> None:
        if name := self._begin_to_delete("snapshot", chance):
            self.boxes.source.call("DELETE", f"/snapshots/v1/{name}", expect=204)
            self._things["snapshot"].begun.discard(name)

    def _make_vd(self, _: random.Random) -> None:
        if len(self._things["vd"].there) > 2 * _KEPT:
            return
        name = self._begin("vd", "x")
        self._asked[name] = 4 * MIB
        request = {"name": name, "raid_group": "rg1", "size": str(4 * MIB)}
        self.boxes.source.call("POST", "/virtual-disks", request, expect=201)
        self._sizes[name] = 4 * MIB
        self._is_there("vd", name)

    def _extend_vd(self, chance: random.Random) -> None:
        names = sorted(self._things["vd"].there - _STAY)
        if not names:
            return
        name = chance.choice(names)
        self._asked[name] = self._sizes[name] + chance.randint(1, 16) * BLOCK
        self.boxes.source.call("POST", f"/virtual-disks/{name}/extend", {"size": str(self._asked[name])})
        self._sizes[name] = self._asked[name]

    def _delete_vd(self, chance: random.Random) -> None:
        if name := self._begin_to_delete("vd", chance):
            self.boxes.source.call("DELETE", f"/virtual-disks/{name}", expect=204)
            self._things["vd"].begun.discard(name)

    def _roll_back(self, chance: random.Random) -> None:
        name = chance.choice(STATES)
        self._rolls.append(name)
        request = {"confirm": "r1", "keep_present": False}
        self.boxes.source.call("POST", f"/snapshots/r1/{name}/roll-back", request)
        self._rolled = len(self._rolls)

    def rolled_back(self, name: str) -> None:
        """Note which snapshot “r1” is found to be rolled back to after a crash."""
        self._rolls, self._rolled = [name], 1

    def snapshots(self) -> set[str]:
        """Return the administrator's snapshots of “v1”."""
        found = self.boxes.source.call("GET", "/snapshots?vd=v1")
        return {one["name"] for one in found if one["kind"] == "manual"}

    def _begin(self, kind: str, prefix: str) -> str:
        self._number += 1
        name = f"{prefix}{self._number}"
        self._things[kind].begun.add(name)
        return name

    def _is_there(self, kind: str, name: str) -> None:
        self._things[kind].there.add(name)
        self._things[kind].begun.discard(name)

    def _begin_to_delete(self, kind: str, chance: random.Random) -> str | None:
        things = self._things[kind]
        names = sorted(things.there - _STAY)
        if len(names) <= _KEPT:
            return None
        name = chance.choice(names)
        things.begun.add(name)
        things.there.discard(name)
        return name

    # The job.

    def _replicate(self, chance: random.Random) -> None:
        """Run cycle after cycle, and note what each one carried."""
        while not self._stop.is_set():
            self.cycle()
            self._stop.wait(chance.uniform(0, 0.2))

    def cycle(self) -> None:
        """Run one cycle, or go on with the one that there is, to its end, and note what it carried."""
        if self.job()["state"] == "idle":
            self.boxes.source.call("POST", "/jobs/nightly/start", expect=202)
        self.catch_up()

    def catch_up(self) -> None:
        """Wait for the end of the cycle that there is, which the controllers go on with, and note what it carried."""
        deadline = time.monotonic() + 120
        while (job := self.job())["state"] != "idle":
            assert job["state"] in {"running", "waiting"}, job
            assert time.monotonic() < deadline, job
            time.sleep(0.02)
        ((base, generation),) = self.boxes.source.query("SELECT base_snapshot_id, base_generation FROM jobs")
        if base is not None:
            self.generation = generation
            self.digests[base] = digest(self.boxes.source.snapshot(base))

    def until_transfer(self) -> None:
        """Return in the middle of a transfer, in which something is noted as durable on the target."""
        under_way = "SELECT 1 FROM cycles WHERE finished_at IS NULL AND step = 'transfer' AND checkpoint > 0"
        deadline = time.monotonic() + 60
        while not self.boxes.source.query(under_way):
            assert time.monotonic() < deadline, "no transfer was seen"
            time.sleep(0.002)

    def job(self) -> dict[str, Any]:
        job: dict[str, Any] = self.boxes.source.call("GET", "/jobs/nightly")
        return job
