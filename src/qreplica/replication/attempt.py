"""One attempt to bring a cycle to its end, over one way to the target.

``snapshot → delta → transfer → flush → commit → done``: each step is persisted before its work begins, and whoever
takes the job over begins another attempt, which finds out from both sides what is left to do.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qreplica.errors import QReplicaError
from qreplica.peer import messages
from qreplica.replication import manifest, planner
from qreplica.replication.comparison import CHUNK, Comparison, asking
from qreplica.replication.differing import with_ranges
from qreplica.replication.errors import StaleOwner
from qreplica.replication.links import Links, Peer, Target, Way, check_claimed, check_disk, check_subsystem, claim_of
from qreplica.replication.paths import Paths
from qreplica.replication.pieces import covered, totals
from qreplica.replication.planner import AlreadyCommitted, Facts, Full, Incremental, Plan, Resume
from qreplica.replication.reporting import Report
from qreplica.replication.store import CycleFacts, JobStore, Planned
from qreplica.replication.throttle import Throttle
from qreplica.replication.transfer import Settings, Stop, Transfer
from qreplica.state.models import Outcome, Severity, Step
from qreplica.storage.driver import Extent, StorageDriver
from qreplica.storage.errors import SnapshotMissing


class Snapshots(Protocol):
    """The QSnap service as a cycle uses it."""

    def take(self, vd: str, name: str, snapshot: str) -> None:
        """Take a snapshot of that id (rule 9), or find it taken."""

    def delete(self, vd: str, snapshot: str) -> None:
        """Delete one that nothing needs, or find it gone."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cycle works with.

    ``tell`` puts an event about the job in the event log: severity, kind, sentence. ``limit`` returns what it may send
    at present, in bytes a second, None for as fast as it can. ``threads`` makes what a comparison works in, and
    ``chunk`` is how finely it compares, in bytes. ``clock`` is monotonic, in seconds.
    """

    storage: StorageDriver
    snapshots: Snapshots
    links: Links
    tell: Callable[[Severity, str, str], None]
    settings: Settings = field(default_factory=Settings)
    limit: Callable[[], int | None] = lambda: None
    threads: Callable[[], Executor] = lambda: ThreadPoolExecutor(2, "comparison")
    chunk: int = CHUNK
    clock: Callable[[], float] = time.monotonic


class Attempt:
    """Goes one way once. The store's epoch must be fresh: the claim takes it to the target."""

    def __init__(  # noqa: PLR0917 - what an attempt consists of
        self, parts: Parts, store: JobStore, paths: Paths, target: Target, way: Way, stop: Stop
    ) -> None:
        self._parts = parts
        self._store = store
        self._paths = paths
        self._target = target
        self._way = way
        self._stop = stop

    def run(self) -> bool:
        """Bring the cycle to its end; return False when the stop event ended it before.

        Raises StaleOwner, and whatever the parts raise; what is durable stays noted, and another attempt goes on.
        """
        facts = self._store.facts()
        if facts.outcome is not Outcome.COMMITTED:
            facts, file = self._snapshot(facts)
            peer = self._parts.links.peer(self._target, self._way)
            try:
                finished = self._replicate(facts, file, peer)
            finally:
                peer.close()
            if not finished:
                return False
            self._store.committed()
        self._release(facts)
        self._store.finished()
        return True

    def _snapshot(self, facts: CycleFacts) -> tuple[CycleFacts, Path]:
        """Return the cycle's snapshot, taken now unless it was before."""
        if facts.snapshot is not None:
            try:
                return facts, self._file(facts, facts.snapshot)
            except SnapshotMissing as error:
                # Another one under the same id would pass for the one that the target may hold a part of.
                self._store.start_anew(error.sentence)
                self._parts.tell(Severity.WARNING, "cycle-abandoned", f"A cycle was given up: {error.sentence}")
                facts = self._store.facts()
        self._store.step(Step.SNAPSHOT)
        name = f"replication-{facts.generation}-{facts.cycle[:8]}"
        self._parts.snapshots.take(facts.source_vd, name, facts.cycle)
        used = self._parts.storage.space_used(facts.source_group, facts.source_vd, settled=False).snapshots
        self._store.snapshot_taken(facts.cycle, used)
        return facts, self._file(facts, facts.cycle)

    def _file(self, facts: CycleFacts, snapshot: str) -> Path:
        return self._parts.storage.snapshot_path(facts.source_group, facts.source_vd, snapshot)

    def _replicate(self, facts: CycleFacts, file: Path, peer: Peer) -> bool:
        """Make the target hold the generation; return False when stopped before."""
        size = file.stat().st_size
        self._look_who_is_there(peer)
        lineage = peer.claim(self._target.node, claim_of(self._target, self._store.epoch, size))
        if lineage.pairing_secret is not None:
            self._store.paired(lineage.pairing_secret)
        check_claimed(self._target, lineage)
        self._store.claimed(lineage.vd_name, lineage.size, self._way.path)
        plan = planner.plan(self._facts(facts, size), lineage)
        if isinstance(plan, AlreadyCommitted):
            return True
        self._store.step(Step.DELTA)
        base = None if isinstance(plan, Full) else plan.base
        extents = self._parts.storage.delta(
            facts.source_group, facts.source_vd, None if base is None else base.snapshot, facts.cycle
        )
        if facts.repairs:
            extents = with_ranges(extents, facts.repairs, size)
        begin = self._begin_message(facts, plan, size, extents)
        start, room = self._begin(facts, plan, begin, extents, peer)
        if room != lineage.size:
            self._store.target_grew(room)
        if not self._send(file, extents, start, begin, lineage.initiator, peer):
            return False
        self._store.step(Step.COMMIT)
        self._look_who_is_there(peer)
        commit = messages.Commit(
            job=facts.job, epoch=self._store.epoch, generation=facts.generation, manifest=begin.manifest
        )
        peer.commit(self._target.node, commit)
        return True

    def _look_who_is_there(self, peer: Peer) -> None:
        """Find out soon that nobody answers here, where there is another path: what is asked next may take minutes."""
        if len(self._target.ways) > 1:
            check_subsystem(peer.nodes(), self._target, self._way)

    def _facts(self, facts: CycleFacts, size: int) -> Facts:
        present = {one.snapshot for one in self._parts.storage.list_snapshots(facts.source_group, facts.source_vd)}
        usable = present & facts.noted
        return Facts(
            node=self._target.node,
            lun=self._target.lun,
            generation=facts.generation,
            snapshot=facts.cycle,
            size=size,
            made=facts.made,
            held=frozenset(
                generation
                for generation, snapshot in facts.made.items()
                if generation < facts.generation and snapshot in usable
            ),
            begun=facts.begun,
        )

    def _begin_message(
        self, facts: CycleFacts, plan: Full | Incremental | Resume, size: int, extents: list[Extent]
    ) -> messages.Begin:
        base = None if isinstance(plan, Full) else plan.base
        base_generation, base_snapshot = (None, None) if base is None else (base.generation, base.snapshot)
        return messages.Begin(
            job=facts.job,
            epoch=self._store.epoch,
            generation=facts.generation,
            base_generation=base_generation,
            base_snapshot=base_snapshot,
            source_snapshot=facts.cycle,
            size=size,
            manifest=manifest.digest(
                job=facts.job,
                generation=facts.generation,
                base_generation=base_generation,
                base_snapshot=base_snapshot,
                source_snapshot=facts.cycle,
                size=size,
                extents=extents,
            ),
        )

    def _begin(
        self,
        facts: CycleFacts,
        plan: Full | Incremental | Resume,
        begin: messages.Begin,
        extents: list[Extent],
        peer: Peer,
    ) -> tuple[int, int]:
        """Persist the plan, tell the target, and return the offset to start from and the backup VD's size.

        The checkpoint is persisted before the target hears of the plan: were it set back only after, a crash between
        would leave the old one standing for a generation that was begun anew.
        """
        goes_on = isinstance(plan, Resume) and plan.manifest == begin.manifest
        start = plan.checkpoint if isinstance(plan, Resume) and goes_on else 0
        sums = totals(extents)
        self._store.planned(
            Planned(
                None if isinstance(plan, Full) else plan.base,
                begin.manifest,
                total=sums.all,
                zeros=sums.zeros,
                done=covered(extents, start),
                checkpoint=start,
                repairs=bool(facts.repairs),
            )
        )
        begun = peer.begin(self._target.node, begin)
        if start and not begun.resumed:
            self._store.checkpoint(0, 0)
            start = 0
        self._tell_plan(plan, start)
        return start, begun.size

    def _tell_plan(self, plan: Plan, start: int) -> None:
        what = {Full: "a full copy", Incremental: "the changes"}.get(type(plan), f"the rest from byte {start}")
        self._parts.tell(Severity.INFO, "cycle-planned", f"It sends {what}, because {plan.reason}.")

    def _send(  # noqa: PLR0917 - what is sent, and to whom
        self, file: Path, extents: list[Extent], start: int, begin: messages.Begin, initiator: str, peer: Peer
    ) -> bool:
        """Bring the extents to the target, durably; return False when stopped before.

        Of a full copy only what differs is sent. Before it, what an earlier job may have left beyond the source VD's
        size is made zeros.
        """
        size = begin.size
        source = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._parts.links.session(self._target, self._way, initiator) as session:
                room = check_disk(session, self._target, size)
                # What lies beyond on another maker's disk is no part of the copy.
                whole = begin.base_snapshot is None and self._target.plain is None
                if whole and start == 0 and room > size:
                    session.write_zeros(self._target.lun, size, room - size)
                throttle = Throttle(self._parts.limit(), self._parts.clock)

                def look() -> None:
                    self._paths.check_there(self._way)
                    throttle.set(self._parts.limit())

                report = Report(self._store, self._parts.tell, self._parts.clock, covered(extents, start), look)
                with self._comparison(source, extents, start, begin, peer) as comparison:
                    transfer = Transfer(
                        session,
                        self._target.lun,
                        source,
                        extents,
                        start=start,
                        end=size,
                        stop=self._stop,
                        on_checkpoint=lambda at: self._store.checkpoint(at.checkpoint, at.done),
                        on_progress=report,
                        throttle=throttle,
                        comparison=comparison,
                        settings=self._parts.settings,
                        clock=self._parts.clock,
                    )
                    finished = transfer.run()
                    report.complete(transfer.progress)
                if finished:
                    self._store.step(Step.FLUSH)
                    transfer.seal()
                    # A LUN that was replaced under the session would have taken the rest without a word.
                    check_disk(session, self._target, size)
                return finished
        finally:
            os.close(source)

    def _comparison(
        self, source: int, extents: list[Extent], start: int, begin: messages.Begin, peer: Peer
    ) -> Comparison | nullcontext[None]:
        """Return what compares a full copy with what the target holds; of one that is sent already there is none.

        Nor is there one of another maker's disk, where nobody can be asked.
        """
        if begin.base_snapshot is not None or start >= begin.size or self._target.plain is not None:
            return nullcontext()
        chunk = self._parts.chunk
        ask = asking(peer, self._target.node, begin, chunk)
        return Comparison(ask, source, extents, start, begin.size, self._parts.threads(), chunk)

    def _release(self, facts: CycleFacts) -> None:
        """Delete the snapshots no longer needed; what cannot be deleted is tried again after the next cycle."""
        group, vd = facts.source_group, facts.source_vd
        for snapshot in self._store.left_over(one.snapshot for one in self._parts.storage.list_snapshots(group, vd)):
            try:
                self._parts.snapshots.delete(vd, snapshot)
            except StaleOwner:
                raise
            except QReplicaError as error:
                sentence = f"An old replication snapshot could not be deleted: {error.sentence}"
                self._parts.tell(Severity.WARNING, "snapshot-not-released", sentence)
