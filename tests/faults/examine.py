"""What must be true after a crash."""

import random
from functools import partial
from pathlib import Path

from ..daemon.running import eventually  # noqa: TID252 - the daemon's own tests'
from .boxes import STATES, Box, Boxes, digest, scrub
from .life import Life, Moment
from .writer import Writer

#: What a start tells when something is amiss that should not be.
_ALARMS = {
    *("vd-unknown", "vd-missing", "group-failed", "storage-command-failed", "snapshot-not-released"),
    *("state-damaged", "recovery-points-not-tidied", "recovery-points-exceed-space", "job-failed"),
}


def examine(boxes: Boxes, life: Life, before: Moment, after: Moment, *, promised: list[int]) -> None:
    """Look at two subsystems that were started again after a crash between the moments ``before`` and ``after``.

    ``promised`` is, of each block, the least write that must be there.
    """
    for box in boxes.both:
        # A leg that missed writes is brought up to date first.
        eventually(partial(_is_online, box))
        _check_known(box, at_rest=False)
        _check_space(box)
        _check_events(box)
    found = life.ledger.check(boxes.source.live("v1"), promised, after.issued)
    life.ledger.settle(found)
    _check_things(boxes, life, before, after)
    _check_rolled_back(boxes.source, life, before, after)
    _check_sizes(boxes.source, before, after)
    _check_snapshots(boxes.source, life)
    _check_points(boxes, life, before.generation)


def _is_online(box: Box) -> bool:
    return bool(box.call("GET", "/raid-groups/rg1")["health"] == "online")


def finish(boxes: Boxes, life: Life) -> None:
    """Let what was cut off go on to its end and more be done after it; copies are equal, and nothing is damaged."""
    life.catch_up()
    _write_more(boxes, life)
    life.cycle()
    source, target = boxes.both
    ((base,),) = source.query("SELECT base_snapshot_id FROM jobs")
    ((point, generation),) = target.query(
        "SELECT snapshot_id, generation FROM recovery_points ORDER BY generation DESC LIMIT 1"
    )
    assert generation == life.generation
    assert digest(target.snapshot(point)) == digest(source.snapshot(base))
    assert digest(source.live("v1")) == digest(source.snapshot(base))
    for box in boxes.both:
        _check_known(box, at_rest=True)
        _check_space(box)
        _check_events(box)
        scrub(box.group)


def _write_more(boxes: Boxes, life: Life) -> None:
    """A host finds the same disk and writes on."""
    with boxes.log_in() as session:
        Writer(session, life.ledger, random.Random(life.seed)).write(commands=100)


def _check_events(box: Box) -> None:
    told = box.query("SELECT kind, subject, message FROM events")
    assert not [event for event in told if event[0] in _ALARMS]


def _check_known(box: Box, *, at_rest: bool) -> None:
    """The RG holds what the state knows, and nothing else: all that was half made or half deleted is gone.

    Unless all is at rest, what a cycle was taking is kept for the job, and what a commit was taking for the next one.
    """
    assert not box.query("SELECT name FROM virtual_disks WHERE incomplete")
    assert not box.query("SELECT name FROM raid_groups WHERE incomplete")
    group = box.group
    assert not list((group / "trash").iterdir())
    assert _names(group / "vds") == {vd for (vd,) in box.query("SELECT id FROM virtual_disks")}
    half = box.query("SELECT id, kind FROM snapshots WHERE taken_at IS NULL")
    cycles = {cycle for (cycle,) in box.query("SELECT id FROM cycles WHERE finished_at IS NULL")}
    assert not at_rest or not half
    assert all(kind == "recovery-point" or snapshot in cycles for snapshot, kind in half)
    for vd in (group / "vds").iterdir():
        assert _names(vd) == {"live", "snapshots"}
        rows = box.query("SELECT id FROM snapshots WHERE vd_id = ? AND taken_at IS NOT NULL", vd.name)
        assert _names(vd / "snapshots") - {snapshot for snapshot, _ in half} == {snapshot for (snapshot,) in rows}


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def _check_things(boxes: Boxes, life: Life, before: Moment, after: Moment) -> None:
    found = {
        "snapshot": life.snapshots(),
        "vd": {one["name"] for one in boxes.source.call("GET", "/virtual-disks")},
    }
    for kind, names in found.items():
        earlier, later = before.things[kind], after.things[kind]
        touched = earlier.begun | later.begun
        # What came or went between the moments is in the one and not in the other.
        assert names >= (earlier.there & later.there), kind
        assert names <= (earlier.there | later.there | touched), kind


def _check_rolled_back(box: Box, life: Life, before: Moment, after: Moment) -> None:
    """A VD is wholly what one of its snapshots is: the last that it was rolled back to, or one asked for since."""
    present = digest(box.live("r1"))
    ids = {one["name"]: one["id"] for one in box.call("GET", "/snapshots?vd=r1")}
    (name,) = [name for name in STATES if digest(box.snapshot(ids[name])) == present]
    assert name in after.rolls[before.rolled - 1 :]
    life.rolled_back(name)


def _check_sizes(box: Box, before: Moment, after: Moment) -> None:
    """A VD has the size that it was promised, in the state and in the RG."""
    for vd in box.call("GET", "/virtual-disks"):
        assert before.sizes.get(vd["name"], 0) <= vd["size"] <= after.asked[vd["name"]]
        assert box.live(vd["name"]).stat().st_size == vd["size"]


def _check_space(box: Box) -> None:
    """What snapshots use is still counted."""
    for vd in box.call("GET", "/virtual-disks"):
        assert vd["snapshot_used"] <= vd["snapshot_space"], vd


def _check_snapshots(box: Box, life: Life) -> None:
    rows = box.query("SELECT id FROM snapshots WHERE taken_at IS NOT NULL AND kind = 'manual'")
    for (snapshot,) in rows:
        # One whose taking was not acknowledged and that nobody looked at is what it is.
        expected = life.digests.setdefault(snapshot, digest(box.snapshot(snapshot)))
        assert digest(box.snapshot(snapshot)) == expected


def _check_points(boxes: Boxes, life: Life, committed: int) -> None:
    """Every recovery point is what the source's snapshot of its generation was; none that was committed is gone."""
    source, target = boxes.both
    points = target.query("SELECT generation, snapshot_id, source_snapshot FROM recovery_points ORDER BY generation")
    assert max((generation for generation, _, _ in points), default=0) >= committed
    for generation, snapshot, carried in points:
        # One whose commit the source had no time to learn of is still held by the source. A cycle that goes on at once
        # may have taken its snapshot anew, with the id of the one that was taken in the life that went on.
        known = life.digests.get(carried) if generation <= committed else None
        expected = known or digest(source.snapshot(carried))
        assert digest(target.snapshot(snapshot)) == expected, f"generation {generation}"
