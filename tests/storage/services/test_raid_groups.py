"""RAID groups: what is refused, what is promised, and what a failure or a crash in the middle leaves."""

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import NotAName
from qreplica.state.models import RaidGroup, VdType
from qreplica.storage import disks, raid_groups, virtual_disks
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import GroupHealth, RaidLevel
from qreplica.storage.errors import GroupBusy, GroupFull, GroupNotEmpty, TooFewDisks
from qreplica.storage.service_errors import CreationInterrupted, DiskOfGroup, DisksRepeated, NameTaken
from qreplica.units import GIB, MIB

from .world import Crash, World


def create(world: World, name: str = "rg1", level: RaidLevel = RaidLevel.RAID1, *names: str) -> RaidGroup:
    return raid_groups.create(world.db, world.driver, name=name, level=level, disks=names or ("d1", "d2"))


@pytest.fixture
def with_disks(world: World) -> World:
    for name in ("d1", "d2", "d3"):
        world.disk(name, GIB)
    return world


def listed(world: World) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [group.name for group in raid_groups.listing(session)]


def free_disks(world: World) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [disk.name for disk in disks.listing(session) if disk.raid_group is None]


def test_a_group_is_made_and_holds_its_disks(with_disks: World) -> None:
    group = create(with_disks)
    assert with_disks.storage.group_status(group.id).health is GroupHealth.ONLINE
    assert listed(with_disks) == ["rg1"]
    assert free_disks(with_disks) == ["d3"]
    with with_disks.database.session(read_only=True) as session:
        found = raid_groups.get(session, "rg1")
        room = capacity(RaidLevel.RAID1, [GIB, GIB])
        assert (found.usable, found.reserve) == (room.usable, room.reserve)
        assert raid_groups.space(session, found).free == room.usable - room.reserve


def test_space_is_promised_thickly(world: World) -> None:
    world.group()
    before = world.free()
    world.vd("v1", 4 * MIB)
    assert world.free() == before - 4 * MIB
    world.vd("b1", 8 * MIB, type_=VdType.BACKUP)
    assert world.free() == before - 4 * MIB - 16 * MIB
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 6 * MIB)
    assert world.free() == before - 10 * MIB - 16 * MIB
    with world.database.session(read_only=True) as session:
        space = raid_groups.space(session, raid_groups.get(session, "rg1"))
    assert (space.virtual_disks, space.snapshot_space) == (12 * MIB, 14 * MIB)
    virtual_disks.delete(world.db, world.driver, "b1")
    assert world.free() == before - 10 * MIB


@pytest.mark.parametrize(
    ("error", "name", "level", "names"),
    [
        (NotAName, "RG 1", RaidLevel.RAID1, ("d1", "d2")),
        (DisksRepeated, "rg1", RaidLevel.RAID1, ("d1", "d1")),
        (NotFound, "rg1", RaidLevel.RAID1, ("d1", "d9")),
        (TooFewDisks, "rg1", RaidLevel.MIRROR3, ("d1", "d2")),
        (TooFewDisks, "rg1", RaidLevel.JBOD, ()),
    ],
)
def test_what_cannot_be_a_group_is_refused(
    with_disks: World, error: type[QReplicaError], name: str, level: RaidLevel, names: tuple[str, ...]
) -> None:
    with with_disks.unchanged(), pytest.raises(error):
        raid_groups.create(with_disks.db, with_disks.driver, name=name, level=level, disks=names)


def test_names_and_disks_in_use_are_refused(with_disks: World) -> None:
    create(with_disks)
    with with_disks.unchanged():
        with pytest.raises(NameTaken, match="already a RAID group “rg1”"):
            create(with_disks, "rg1", RaidLevel.JBOD, "d3")
        with pytest.raises(DiskOfGroup, match="Disk d2 belongs to RAID group rg1"):
            create(with_disks, "rg2", RaidLevel.RAID1, "d2", "d3")


def test_a_group_is_deleted_and_its_disks_are_free(with_disks: World) -> None:
    with with_disks.unchanged():
        create(with_disks)
        raid_groups.delete(with_disks.db, with_disks.driver, "rg1")
    with pytest.raises(NotFound, match="no RAID group “rg1”"):
        raid_groups.delete(with_disks.db, with_disks.driver, "rg1")


def test_a_group_that_holds_vds_is_not_deleted(world: World) -> None:
    world.group()
    world.vd()
    with world.unchanged(), pytest.raises(GroupNotEmpty, match=r"rg1 still holds 1 virtual disk"):
        raid_groups.delete(world.db, world.driver, "rg1")


@pytest.mark.parametrize("error", [GroupBusy(group="x"), GroupNotEmpty(group="x", count=1)])
def test_a_deletion_that_the_driver_refuses_changes_nothing(world: World, error: QReplicaError) -> None:
    world.group()
    world.fate.places["before delete_group"] = error
    with world.unchanged(), pytest.raises(type(error)):
        raid_groups.delete(world.db, world.driver, "rg1")
    assert listed(world) == ["rg1"]


@pytest.mark.parametrize("place", ["before create_group", "after create_group"])
def test_a_creation_that_fails_leaves_nothing(with_disks: World, place: str) -> None:
    with_disks.fate.places[place] = GroupFull(group="x", operation="it")
    with with_disks.unchanged(), pytest.raises(GroupFull):
        create(with_disks)
    create(with_disks)
    assert listed(with_disks) == ["rg1"]


def test_a_creation_whose_undoing_fails_too_tells_the_first_cause_and_can_be_deleted(with_disks: World) -> None:
    with_disks.fate.places["after create_group"] = GroupFull(group="x", operation="it")
    with_disks.fate.places["before delete_group"] = GroupBusy(group="x")
    with with_disks.unchanged():
        with pytest.raises(GroupFull):
            create(with_disks)
        assert listed(with_disks) == []
        assert free_disks(with_disks) == ["d3"]
        raid_groups.delete(with_disks.db, with_disks.driver, "rg1")


CREATION = ["before commit", "after commit", "before create_group", "after create_group"]


@pytest.mark.parametrize(("place", "commits"), [*((place, 0) for place in CREATION), ("before commit", 1)])
def test_a_crash_while_a_group_is_made_is_undone_at_start(with_disks: World, place: str, commits: int) -> None:
    with with_disks.unchanged():
        with_disks.fate.places[place] = Crash()
        with_disks.fate.commits = commits
        with pytest.raises(Crash):
            create(with_disks)
        assert listed(with_disks) == []
        with_disks.restart()
    create(with_disks)
    assert listed(with_disks) == ["rg1"]


def test_a_group_that_was_made_before_the_crash_is_there_after(with_disks: World) -> None:
    with_disks.fate.places["after commit"] = Crash()
    with_disks.fate.commits = 1
    with pytest.raises(Crash):
        create(with_disks)
    with_disks.restart()
    assert listed(with_disks) == ["rg1"]


@pytest.mark.parametrize(
    ("place", "commits"),
    [("after commit", 0), ("before delete_group", 0), ("after delete_group", 0), ("before commit", 1)],
)
def test_a_crash_while_a_group_is_deleted_is_finished_at_start(with_disks: World, place: str, commits: int) -> None:
    with with_disks.unchanged():
        create(with_disks)
        with_disks.fate.places[place] = Crash()
        with_disks.fate.commits = commits
        with pytest.raises(Crash):
            raid_groups.delete(with_disks.db, with_disks.driver, "rg1")
        with_disks.restart()


def test_a_start_elsewhere_that_undoes_a_creation_is_told_of(with_disks: World) -> None:
    real = with_disks.storage.create_group

    class Meddled:
        def __getattr__(self, name: str) -> object:
            return getattr(with_disks.storage, name)

        def create_group(self, *facts: object) -> None:
            real(*facts)  # type: ignore[arg-type] # passed on as they came
            raid_groups.undo_incomplete(with_disks.database, with_disks.storage)

    with with_disks.unchanged(), pytest.raises(CreationInterrupted, match="“rg1” was not made"):
        raid_groups.create(with_disks.db, Meddled(), name="rg1", level=RaidLevel.JBOD, disks=["d1"])  # type: ignore[arg-type] # looks like one


def test_a_half_deleted_group_that_holds_vds_after_all_is_kept(with_disks: World) -> None:
    group = create(with_disks)
    with_disks.storage.create_vd(group.id, "unknown", 4 * MIB)
    with with_disks.database.session() as session:
        session.get_one(RaidGroup, group.id).incomplete = True
    with_disks.restart()
    assert listed(with_disks) == ["rg1"]
    assert with_disks.storage.list_vds(group.id) == ["unknown"]


@pytest.mark.parametrize("level", list(RaidLevel))
def test_of_raid_5_and_6_the_write_hole_is_told_in_one_sentence(level: RaidLevel) -> None:
    warnings = raid_groups.warnings(level)
    if level in {RaidLevel.RAID5, RaidLevel.RAID6}:
        (sentence,) = warnings
        assert "write hole" in sentence
        assert sentence.count(". ") == 0
        assert sentence.endswith(".")
    else:
        assert warnings == []
