"""Decides what a cycle sends, from what both sides hold. Pure: no disk, no network, no clock.

The rules: a delta goes only onto the very generation that it was computed from; what was interrupted goes on where it
can; a full copy is the last resort, and says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from qreplica.peer.messages import InProgress, Lineage, Point
from qreplica.replication.errors import HistoriesDiverged, TargetIsAhead


@dataclass(frozen=True, slots=True)
class Base:
    """A generation that both sides hold, and its snapshot on the source."""

    generation: int
    snapshot: str


@dataclass(frozen=True, slots=True)
class Begun:
    """What an earlier attempt of this cycle planned and persisted, before it told the target.

    ``checkpoint`` is the offset below which all is durable there. ``base`` is None for a full copy.
    """

    manifest: str
    base: Base | None
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the source knows when a cycle is planned.

    ``generation``, ``snapshot`` and ``size`` (bytes) are the cycle's. ``made`` names the snapshot of every generation
    that this job ever carried, the present one included, whether it still exists or not; ``held`` are the generations
    before the present one whose snapshots do exist. ``node`` is for sentences.
    """

    node: str
    lun: int
    generation: int
    snapshot: str
    size: int
    made: Mapping[int, str]
    held: frozenset[int]
    begun: Begun | None


@dataclass(frozen=True, slots=True)
class Full:
    """Send everything."""

    reason: str


@dataclass(frozen=True, slots=True)
class Incremental:
    """Send what changed since ``base``, which is the target's newest point."""

    base: Base
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with what is in progress at the target; all below ``checkpoint`` is there."""

    base: Base | None
    manifest: str
    checkpoint: int
    reason: str


@dataclass(frozen=True, slots=True)
class AlreadyCommitted:
    """The target has the generation: only the answer to the commit was lost."""

    point: Point
    reason: str


Plan: TypeAlias = Full | Incremental | Resume | AlreadyCommitted


def plan(facts: Facts, lineage: Lineage) -> Plan:
    """Return what the cycle sends. Raises HistoriesDiverged, TargetIsAhead; nothing is to be sent then.

    ``lineage`` is the answer to a claim, so that nobody else changes it until the next claim. A backup VD that is
    smaller than the source VD matters not: it grows, or refuses to, when the plan is begun.
    """
    newest = lineage.points[-1] if lineage.points else None
    if newest is not None:
        _check_ours(facts, newest)
        if newest.generation == facts.generation:
            return AlreadyCommitted(newest, f"the target has committed generation {newest.generation} already")
    if facts.begun is not None and _goes_on(facts, facts.begun, newest, lineage.in_progress):
        return Resume(
            facts.begun.base,
            facts.begun.manifest,
            facts.begun.checkpoint,
            f"generation {facts.generation} is in progress at the target with the same manifest",
        )
    if newest is None:
        return Full(
            "the target holds no whole generation of this job any more" if facts.held else "it is the first copy"
        )
    if newest.generation in facts.held:
        return Incremental(
            Base(newest.generation, newest.source_snapshot), f"both sides hold generation {newest.generation}"
        )
    return Full(
        f"the target's newest recovery point is generation {newest.generation}, whose snapshot the source no longer has"
    )


def _check_ours(facts: Facts, newest: Point) -> None:
    if newest.generation > facts.generation:
        raise TargetIsAhead(node=facts.node, newest=newest.generation, generation=facts.generation)
    known = facts.made.get(newest.generation)
    if known != newest.source_snapshot:
        raise HistoriesDiverged(
            node=facts.node, generation=newest.generation, found=newest.source_snapshot, known=known or "unknown"
        )


def _goes_on(facts: Facts, begun: Begun, newest: Point | None, present: InProgress | None) -> bool:
    """Tell whether what the target has in progress is what this cycle began, on the same base."""
    if present is None:
        return False
    if begun.base is not None:
        at_base = newest is not None and newest.generation == begun.base.generation
        # Without its snapshot the delta cannot be computed again.
        if not at_base or begun.base.generation not in facts.held:
            return False
    ours = (
        facts.generation,
        facts.snapshot,
        facts.size,
        begun.manifest,
        begun.base.generation if begun.base is not None else None,
    )
    return ours == (
        present.generation,
        present.source_snapshot,
        present.size,
        present.manifest,
        present.base_generation,
    )
