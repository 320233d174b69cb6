"""A deletion that is refused before it began did not begin: it does not happen later by itself either."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

from qreplica.errors import QReplicaError
from qreplica.state.models import SnapshotKind
from qreplica.storage import raid_groups, snapshots, virtual_disks
from qreplica.storage.errors import GroupClosed, GroupFull, GroupLocked

from .world import World


class Stillness:
    def still_paused(self) -> bool:
        return True


@contextmanager
def pause() -> Any:
    yield Stillness()


def snapshot(world: World) -> None:
    vd = world.vd()
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 1 << 20)
    snapshots.take(world.db, world.driver, pause, vd_id=vd, name="s1", kind=SnapshotKind.MANUAL)


def delete_vd(world: World) -> None:
    virtual_disks.delete(world.db, world.driver, "v1")


def delete_snapshot(world: World) -> None:
    snapshots.delete(world.db, world.driver, "v1", "s1")


def delete_group(world: World) -> None:
    raid_groups.delete(world.db, world.driver, "rg1")


CLOSED = GroupClosed(group="rg1")
LOCKED = GroupLocked(group="rg1", seconds=120.0)


@pytest.mark.parametrize(
    ("prepare", "delete", "place", "error"),
    [
        (World.vd, delete_vd, "before delete_vd", CLOSED),
        (World.vd, delete_vd, "before delete_vd", LOCKED),
        (snapshot, delete_snapshot, "before delete_snapshot", CLOSED),
        (lambda _: None, delete_group, "before delete_group", LOCKED),
    ],
    ids=["vd of a closed group", "vd of a locked group", "snapshot of a closed group", "locked group"],
)
def test_a_refused_deletion_changes_nothing_also_at_the_next_start(
    world: World,
    prepare: Callable[[World], object],
    delete: Callable[[World], None],
    place: str,
    error: QReplicaError,
) -> None:
    world.group()
    prepare(world)
    before = world.state()
    world.fate.places[place] = error
    with pytest.raises(type(error)):
        delete(world)
    assert world.state() == before
    world.restart()
    assert world.state() == before
    delete(world)


@pytest.mark.parametrize("refusal", [CLOSED, LOCKED])
def test_what_is_half_deleted_stays_so(world: World, refusal: QReplicaError) -> None:
    world.group()
    world.vd()
    world.fate.places["after delete_vd"] = GroupFull(group="rg1", operation="it")
    with pytest.raises(GroupFull):
        delete_vd(world)
    world.fate.places["before delete_vd"] = refusal
    with pytest.raises(type(refusal)):
        delete_vd(world)
    with world.database.session(read_only=True) as session:
        assert virtual_disks.listing(session) == []
    world.restart()
    with world.database.session(read_only=True) as session:
        assert raid_groups.get(session, "rg1").vds == []
