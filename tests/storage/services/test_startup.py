"""A start: what cannot be opened is told of and holds nothing else up."""

from pathlib import Path

import pytest
from sqlalchemy import select

from qreplica.state.models import Disk, Event, RaidGroup, Severity
from qreplica.storage.driver import GroupHealth
from qreplica.storage.startup import open_storage
from qreplica.units import GIB, MIB

from .world import World


def told(world: World) -> list[tuple[Severity, str, str]]:
    with world.database.session(read_only=True) as session:
        return [(event.severity, event.kind, event.subject) for event in session.scalars(select(Event))]


def group_id(world: World, name: str) -> str:
    with world.database.session(read_only=True) as session:
        return session.scalars(select(RaidGroup.id).where(RaidGroup.name == name)).one()


def test_all_groups_are_open_after_a_start(world: World) -> None:
    for name in ("rg1", "rg2"):
        world.group(name)
    with world.unchanged():
        world.restart()
        open_storage(world.database, world.storage)
    for name in ("rg1", "rg2"):
        assert world.storage.group_status(group_id(world, name)).health is GroupHealth.ONLINE
    assert told(world) == []


def test_a_group_that_cannot_be_opened_holds_no_other_up(world: World) -> None:
    for name in ("rg1", "rg2"):
        world.group(name)
    (world.place / "rg1-disk").rename(world.place / "away")
    world.restart()
    assert world.storage.group_status(group_id(world, "rg1")).health is GroupHealth.CLOSED
    assert world.storage.group_status(group_id(world, "rg2")).health is GroupHealth.ONLINE
    assert told(world) == [(Severity.ERROR, "group-failed", "rg rg1")]


def test_vds_that_only_one_side_knows_are_told_of_and_left(world: World) -> None:
    world.group()
    group = group_id(world, "rg1")
    gone = world.vd("v1")
    world.storage.delete_vd(group, gone)
    world.storage.create_vd(group, "unknown", 4 * MIB)
    with world.unchanged():
        world.restart()
    assert told(world) == [
        (Severity.WARNING, "vd-unknown", "rg rg1"),
        (Severity.ERROR, "vd-missing", "vd v1"),
    ]
    assert world.storage.list_vds(group) == ["unknown"]


def test_an_image_that_is_gone_holds_nothing_up(world: World, tmp_path: Path) -> None:
    world.group()
    with world.database.session() as session:
        session.add(Disk(name="i1", device="/dev/loop-of-before", image=str(tmp_path / "gone.img"), size=GIB))
    world.restart()
    assert told(world) == [(Severity.ERROR, "disk-image-missing", "disk i1")]
    with world.database.session(read_only=True) as session:
        assert session.scalars(select(Disk.device).where(Disk.name == "i1")).one() is None
    assert world.storage.group_status(group_id(world, "rg1")).health is GroupHealth.ONLINE


@pytest.mark.parametrize("controller", [None, 2])
def test_events_name_the_controller_that_started(world: World, controller: int | None) -> None:
    world.group()
    (world.place / "rg1-disk").unlink()
    world.storage.close_group(group_id(world, "rg1"))
    open_storage(world.database, world.storage, controller=controller)
    with world.database.session(read_only=True) as session:
        assert session.scalars(select(Event.controller)).one() == controller
