"""Power is lost, at any instant: the subsystems come back with everything that they had promised."""

import contextlib
import random
import time
from pathlib import Path

import pytest

from .boxes import two_boxes
from .examine import examine, finish
from .life import Life
from .rig import operated_group

pytestmark = pytest.mark.root


def test_nothing_promised_is_lost_when_all_power_is(tmp_path: Path, seed: int, crashes: int) -> None:
    """One life, several instants of it: each is what a cut of the power of both subsystems would have left."""
    chance = random.Random(seed)
    with two_boxes(tmp_path) as boxes:
        life = Life(boxes, seed)
        life.begin()
        cuts = []
        for _ in range(crashes):
            time.sleep(chance.uniform(0.3, 2.0))
            before = life.now()
            copy = boxes.platter.cut([*boxes.source.disks, *boxes.target.disks], chance)
            cuts.append((copy, before, life.now()))
        life.end()
        boxes.lose_power()
        known = life.digests
        for copy, before, after in cuts:
            # What is taken anew after a cut may have the id of what was taken in the life that went on.
            life.digests = dict(known)
            boxes.boot(copy)
            examine(boxes, life, before, after, promised=before.durable)
            finish(boxes, life)
            boxes.take_down()


def test_one_subsystem_loses_power_and_the_other_does_not(tmp_path: Path, seed: int, crashes: int) -> None:
    """Both stand still at the cut, so that none has an answer that the other did not give before it.

    The target loses it in the middle of a transfer: what the source holds for durable there has to be.
    """
    chance = random.Random(seed)
    with two_boxes(tmp_path) as boxes:
        life = Life(boxes, seed)
        for number in range(crashes):
            lost, other = boxes.both if number % 2 else reversed(boxes.both)
            life.begin()
            time.sleep(chance.uniform(0.3, 2.0))
            if lost is boxes.target:
                life.until_transfer()
            standing = other.stand_still()
            lost.stand_still()
            before = life.now()
            copy = boxes.platter.cut(lost.disks, chance)
            lost.lose_power()
            lost.boot(copy)
            other.go_on(standing)
            life.end(crashed=True)
            examine(boxes, life, before, life.now(), promised=before.durable)
            finish(boxes, life)
        boxes.take_down()


def test_operations_are_done_or_not_begun_when_power_is_lost(tmp_path: Path, seed: int, crashes: int) -> None:
    """Creation, growth, writes, snapshots, roll back, reclaiming and deletion: what is durable is a prefix of them.

    Half of the cuts come right after the answer, which is when something that is not durable yet shows.
    """
    chance = random.Random(seed)
    with operated_group(tmp_path, chance) as rig:
        operator = rig.operate({})
        cuts = []
        for _ in range(4 * crashes):
            time.sleep(chance.uniform(0.1, 0.7))
            with operator.held if chance.random() < 0.5 else contextlib.nullcontext():
                done = operator.done
                copy = rig.cut()
                cuts.append((copy, done, len(operator.operations)))
        operator.end()
        for copy, done, begun in cuts:
            rig.open_copy(copy)
            there = rig.examine(operator.before, operator.operations[:begun], done)
            rig.go_on(there)
        rig.take_down()
