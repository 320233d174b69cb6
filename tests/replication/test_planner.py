"""What a cycle sends, for everything that the two sides can hold."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from qreplica.peer.messages import InProgress, Lineage, Point
from qreplica.replication.errors import HistoriesDiverged, TargetIsAhead
from qreplica.replication.planner import AlreadyCommitted, Base, Begun, Facts, Full, Incremental, Plan, Resume, plan

NODE = "iqn.2026-11.org.qreplica:backup-1"
SIZE = 1 << 30


def snapshot(generation: int) -> str:
    return f"{generation:032x}"


def digest(number: int) -> str:
    return f"{number:064x}"


def facts(generation: int = 5, held: tuple[int, ...] = (4,), begun: Begun | None = None, **changes: Any) -> Facts:
    """Return the facts of a job that has carried every generation up to the present one."""
    return Facts(
        **{
            "node": NODE,
            "lun": 1,
            "generation": generation,
            "snapshot": snapshot(generation),
            "size": SIZE,
            "made": {number: snapshot(number) for number in range(1, generation + 1)},
            "held": frozenset(held),
            "begun": begun,
            **changes,
        }
    )


def point(generation: int, **changes: Any) -> Point:
    return Point(
        **{
            "generation": generation,
            "source_snapshot": snapshot(generation),
            "size": SIZE,
            "manifest": digest(generation),
            "committed_at": datetime(2026, 11, 24, tzinfo=UTC),
            **changes,
        }
    )


def in_progress(generation: int = 5, base: int | None = 4, **changes: Any) -> InProgress:
    return InProgress(
        **{
            "generation": generation,
            "base_generation": base,
            "source_snapshot": snapshot(generation),
            "size": SIZE,
            "manifest": digest(generation),
            **changes,
        }
    )


def lineage(*points: Point, present: InProgress | None = None, size: int = SIZE) -> Lineage:
    return Lineage(
        vd="b" * 32,
        vd_name="b1",
        lun=1,
        size=size,
        serial="b1",
        epoch=9,
        initiator="iqn.2026-11.org.qreplica:job",
        points=list(points),
        in_progress=present,
    )


BEGUN = Begun(digest(5), Base(4, snapshot(4)), 700)
BEGUN_FULL = Begun(digest(5), None, 700)


def test_the_first_copy_is_full() -> None:
    assert plan(facts(1, ()), lineage()) == Full("it is the first copy")


def test_points_that_the_target_no_longer_has_make_it_full() -> None:
    decided = plan(facts(), lineage())
    assert isinstance(decided, Full)
    assert "no whole generation of this job" in decided.reason


def test_the_changes_since_the_base_that_both_hold() -> None:
    assert plan(facts(), lineage(point(3), point(4))) == Incremental(
        Base(4, snapshot(4)), "both sides hold generation 4"
    )


def test_an_older_point_whose_snapshot_is_still_held_serves_as_base() -> None:
    decided = plan(facts(held=(2, 4)), lineage(point(1), point(2)))
    assert isinstance(decided, Incremental)
    assert decided.base == Base(2, snapshot(2))


def test_an_older_point_whose_snapshot_is_gone_makes_it_full_and_says_so() -> None:
    decided = plan(facts(held=(4,)), lineage(point(2)))
    assert isinstance(decided, Full)
    assert "generation 2, whose snapshot the source no longer has" in decided.reason


def test_a_commit_whose_answer_was_lost_is_only_noted() -> None:
    decided = plan(facts(begun=BEGUN), lineage(point(4), point(5)))
    assert isinstance(decided, AlreadyCommitted)
    assert decided.point.generation == 5


def test_what_is_in_progress_goes_on_from_the_checkpoint() -> None:
    decided = plan(facts(begun=BEGUN), lineage(point(4), present=in_progress()))
    assert isinstance(decided, Resume)
    assert (decided.base, decided.checkpoint, decided.manifest) == (Base(4, snapshot(4)), 700, digest(5))


def test_a_full_copy_in_progress_goes_on_too_whatever_points_there_are() -> None:
    for points in ((), (point(4),)):
        decided = plan(facts(begun=BEGUN_FULL), lineage(*points, present=in_progress(base=None)))
        assert isinstance(decided, Resume)
        assert decided.base is None


@pytest.mark.parametrize(
    "present",
    [
        None,
        in_progress(4),
        in_progress(manifest=digest(77)),
        in_progress(source_snapshot=snapshot(77)),
        in_progress(size=SIZE // 2),
        in_progress(base=3),
        in_progress(base=None),
    ],
    ids=lambda present: "none" if present is None else present.model_dump_json()[:60],
)
def test_anything_else_in_progress_is_begun_anew(present: InProgress | None) -> None:
    assert isinstance(plan(facts(begun=BEGUN), lineage(point(4), present=present)), Incremental)


def test_what_was_never_noted_as_begun_is_begun_anew() -> None:
    assert isinstance(plan(facts(begun=None), lineage(point(4), present=in_progress())), Incremental)


def test_without_the_bases_snapshot_nothing_can_go_on() -> None:
    decided = plan(facts(held=(), begun=BEGUN), lineage(point(4), present=in_progress()))
    assert isinstance(decided, Full)


def test_a_point_that_this_source_did_not_make_is_a_conflict() -> None:
    with pytest.raises(HistoriesDiverged, match=r"generation 4, was not made by this source .* delete this job"):
        plan(facts(), lineage(point(4, source_snapshot=snapshot(77))))
    with pytest.raises(HistoriesDiverged, match="was not made by this source"):
        plan(facts(), lineage(point(5, source_snapshot=snapshot(77))))
    with pytest.raises(HistoriesDiverged, match="here it is unknown"):
        plan(replace(facts(), made={5: snapshot(5)}), lineage(point(4)))


def test_a_target_that_is_ahead_is_a_conflict() -> None:
    """The source's state was restored from a copy: it does not know what it did since."""
    with pytest.raises(TargetIsAhead, match="holds generation 6, later than generation 5"):
        plan(facts(), lineage(point(6)))


def test_a_target_that_is_too_small_yet_is_planned_for_as_any_other() -> None:
    """It grows, or refuses to, when the plan is begun."""
    assert plan(facts(), lineage(point(4), size=SIZE // 2)) == plan(facts(), lineage(point(4)))


def everything() -> list[tuple[Facts, Lineage]]:
    """Return all combinations of held snapshots, what was begun, points, and what is in progress."""
    generations = range(1, 4)
    begun = [None, *(Begun(digest(m), b, 700) for m in (3, 9) for b in (None, *(Base(g, snapshot(g)) for g in (1, 2))))]
    helds = [h for count in range(3) for h in itertools.combinations((1, 2), count)]
    newest = [None, *(point(g, source_snapshot=snapshot(s)) for g in (*generations, 4) for s in (g, 77))]
    present = [
        None,
        *(in_progress(g, b, manifest=digest(m)) for g in (2, 3, 4) for b in (None, 1, 2) for m in (3, 9)),
    ]
    return [
        (facts(3, held, some), lineage(*([last] if last else []), present=now))
        for held, some, last, now in itertools.product(helds, begun, newest, present)
    ]


def decide(known: Facts, told: Lineage) -> Plan | None:
    try:
        return plan(known, told)
    except (HistoriesDiverged, TargetIsAhead):
        return None


def test_the_rules_hold_for_everything_that_can_be() -> None:
    seen = set()
    for known, told in everything():
        newest = told.points[-1] if told.points else None
        decided = decide(known, told)
        seen.add(type(decided))
        ours = newest is None or known.made.get(newest.generation) == newest.source_snapshot
        match decided:
            case None:
                assert not ours
            case AlreadyCommitted():
                assert newest is not None
                assert (newest.generation, newest.source_snapshot) == (3, snapshot(3))
            case Incremental(base):
                # Rule 3: only onto the very generation that the delta is computed from.
                assert newest is not None
                assert base == Base(newest.generation, newest.source_snapshot)
                assert base.generation in known.held
            case Resume(base, manifest):
                assert known.begun is not None
                assert told.in_progress is not None
                assert manifest == told.in_progress.manifest == known.begun.manifest
                assert told.in_progress.source_snapshot == known.snapshot
                if base is not None:
                    assert newest is not None
                    assert base.generation == newest.generation == told.in_progress.base_generation
                    assert base.generation in known.held
            case Full(reason):
                # The last resort: no common generation.
                assert newest is None or newest.generation not in known.held
                assert reason
        assert decided is None or decided.reason
    assert seen == {Full, Incremental, Resume, AlreadyCommitted, type(None)}
