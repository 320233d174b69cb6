"""Every process of both subsystems is killed, at any instant: the kernel has all that was acknowledged."""

import random
import time
from pathlib import Path

import pytest

from .boxes import two_boxes
from .examine import examine, finish
from .life import Life
from .operations import Model
from .rig import operated_group

pytestmark = pytest.mark.root


def test_nothing_acknowledged_is_lost_when_everything_is_killed(tmp_path: Path, seed: int, crashes: int) -> None:
    chance = random.Random(seed)
    with two_boxes(tmp_path) as boxes:
        life = Life(boxes, seed)
        for _ in range(crashes):
            life.begin()
            time.sleep(chance.uniform(0.3, 2.0))
            before = life.now()
            for box in chance.sample(boxes.both, 2):
                box.kill()
            boxes.restart()
            life.end(crashed=True)
            examine(boxes, life, before, life.now(), promised=before.acknowledged)
            finish(boxes, life)
        boxes.take_down()


def test_operations_are_done_or_not_begun_when_everything_is_killed(tmp_path: Path, seed: int, crashes: int) -> None:
    """The process that operates on the RG is killed, and with it the engine's programs that it runs."""
    chance = random.Random(seed)
    with operated_group(tmp_path, chance) as rig:
        there: Model = {}
        for _ in range(4 * crashes):
            operator = rig.operate(there)
            time.sleep(chance.uniform(0.3, 1.0))
            operator.kill()
            rig.open()
            there = rig.examine(operator.before, operator.operations, operator.done)
        rig.go_on(there)
        rig.take_down()
