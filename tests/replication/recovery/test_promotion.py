"""A backup VD is promoted: with what content, who is kept off, and what a death in the middle leaves."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.iscsi import nodes
from qreplica.peer import listing
from qreplica.peer.errors import PeerBusy
from qreplica.replication.promotion_errors import (
    NoSuchGeneration,
    NothingToPromote,
    NotPromotable,
    NowhereAttached,
    PromotedOtherwise,
    PromotionNotConfirmed,
)
from qreplica.replication.recovery_errors import (
    FencingFailed,
    LunEmpty,
    NotABackupVd,
    NotClaimed,
    StaleEpoch,
    Superseded,
)
from qreplica.state.models import Claim, Event, Lun, Node, VdType, VirtualDisk
from qreplica.state.promotion_models import Promotion

from .world import (
    IQN,
    JOB,
    OTHER_JOB,
    SIZE,
    VD,
    Crash,
    World,
    begin_message,
    claim_message,
    commit_message,
)

HOST = "iqn.2026-11.org.example:host"


def full(letter: bytes) -> bytes:
    return letter * SIZE


def copy(world: World, epoch: int, generation: int, data: bytes) -> str:
    """Make ``data`` a point by a full copy; return the initiator that wrote it."""
    lineage = world.claim(epoch)
    world.recovery.begin(IQN, begin_message(epoch, generation, None))
    world.write(lineage.initiator, 0, data)
    world.recovery.commit(IQN, commit_message(epoch, generation))
    return lineage.initiator


@pytest.fixture
def copied(world: World) -> World:
    """A backup VD with generations 1 (a), 2 (b), and 3 (c) of which a half has arrived."""
    _copied(world)
    return world


def _copied(world: World) -> None:
    copy(world, 1, 1, full(b"a"))
    copy(world, 2, 2, full(b"b"))
    lineage = world.claim(3)
    world.recovery.begin(IQN, begin_message(3, 3, None))
    world.write(lineage.initiator, 0, b"c" * (SIZE // 2))


def state(world: World) -> Any:
    with world.database.session(read_only=True) as session:
        claims = [(row.job_id, row.epoch, row.generation, row.manifest) for row in session.scalars(select(Claim))]
        luns = [(row.node_id, row.number, row.vd_id) for row in session.scalars(select(Lun))]
        promotions = list(session.scalars(select(Promotion.epoch)))
        return claims, luns, promotions, world.points(), world.live().read_bytes(), world.target.specs[IQN]


def type_of(world: World) -> VdType:
    with world.database.session(read_only=True) as session:
        return session.get_one(VirtualDisk, VD).type


def attach(world: World) -> None:
    """Show the VD to a host on its old node."""
    with world.database.session() as session:
        nodes.set_initiators(session, session.scalars(select(Node)).one(), [HOST])
        nodes.attach(session, node="backup-1", vd="b1", lun=1)
    world.reconcile()


def test_hosts_use_the_newest_point_and_what_was_half_received_is_gone(copied: World) -> None:
    prospect = copied.promoter.prospect("b1")
    assert (prospect.generation, prospect.newer, prospect.partial) == (2, (), 3)
    assert "generation 3 is dropped" in prospect.sentence
    row = copied.promoter.promote("b1", confirmed="b1")
    assert (row.job_id, row.generation, row.epoch) == (JOB, 2, 4)
    assert type_of(copied) is VdType.RAID
    assert copied.live().read_bytes() == full(b"b")
    assert copied.points() == {1: full(b"a"), 2: full(b"b")}
    with pytest.raises(AssertionError, match="not admitted"):
        copied.write(HOST, 0, b"x")
    attach(copied)
    copied.write(HOST, 0, b"x" * SIZE)
    assert copied.live().read_bytes() == full(b"x")
    with copied.database.session(read_only=True) as session:
        assert session.scalars(select(Event.kind)).all()[-1] == "vd-promoted"


def test_an_older_point_can_be_chosen_and_newer_ones_stay(copied: World) -> None:
    prospect = copied.promoter.prospect("b1", 1)
    assert (prospect.generation, prospect.newer) == (1, (2,))
    copied.promoter.promote("b1", generation=1, confirmed="b1")
    assert copied.live().read_bytes() == full(b"a")
    assert copied.points() == {1: full(b"a"), 2: full(b"b")}


def test_a_clean_copy_is_used_as_it_is(world: World) -> None:
    copy(world, 1, 1, full(b"a"))
    world.steps.names.clear()
    world.promoter.promote("b1", confirmed="b1")
    assert "roll_back" not in world.steps.names
    assert world.live().read_bytes() == full(b"a")


def test_a_released_copy_can_be_promoted(copied: World) -> None:
    copied.recovery.release_by_force(IQN)
    copied.promoter.promote("b1", confirmed="b1")
    assert copied.live().read_bytes() == full(b"b")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({}, PromotionNotConfirmed),
        ({"confirmed": "payroll"}, PromotionNotConfirmed),
        ({"confirmed": "b1", "generation": 3}, NoSuchGeneration),
    ],
)
def test_what_is_refused_changes_nothing(copied: World, how: dict[str, Any], error: type[QReplicaError]) -> None:
    before = state(copied)
    with pytest.raises(error):
        copied.promoter.promote("b1", **how)
    assert state(copied) == before


def test_a_vd_without_a_whole_copy_or_of_type_raid_is_refused(world: World) -> None:
    with pytest.raises(NothingToPromote):
        world.promoter.promote("b1", confirmed="b1")
    with world.database.session() as session:
        session.get_one(VirtualDisk, VD).type = VdType.RAID
    with pytest.raises(NotPromotable):
        world.promoter.promote("b1", confirmed="b1")


def test_a_copy_whose_node_is_gone_is_rolled_back_too(copied: World) -> None:
    copied.recovery.release_by_force(IQN)
    with copied.database.session() as session:
        nodes.detach(session, node="backup-1", lun=1)
        nodes.delete(session, "backup-1")
    with pytest.raises(NowhereAttached):
        copied.promoter.promote("b1", confirmed="b1")
    with copied.database.session() as session:
        nodes.create(session, name="another", iqn=IQN)
        nodes.attach(session, node="another", vd="b1")
    copied.live().write_bytes(full(b"?"))
    copied.reconcile()
    copied.promoter.promote("b1", confirmed="b1")
    assert copied.live().read_bytes() == full(b"b")


def test_the_job_is_cut_off_and_superseded_wherever_it_was(copied: World) -> None:
    with copied.database.session(read_only=True) as session:
        initiator = session.scalars(select(Claim.initiator)).one()
    session_of_old = copied.target.log_in(IQN, initiator)
    assert session_of_old is not None
    copied.promoter.promote("b1", confirmed="b1")
    assert copied.target.sessions(IQN) == []
    assert copied.target.log_in(IQN, initiator) is None
    calls: list[Callable[[], object]] = [
        lambda: copied.recovery.begin(IQN, begin_message(3, 3, None)),
        lambda: copied.recovery.commit(IQN, commit_message(3, 3)),
    ]
    for call in calls:
        with pytest.raises((NotClaimed, StaleEpoch)):
            call()
    for epoch in (3, 4, 5, 99):
        with pytest.raises(Superseded, match="generation 2") as refused:
            copied.claim(epoch)
        assert refused.value.fields["epoch"] == 4
    # Another job finds no backup VD here, and the old one still finds the node, so that it comes to be told.
    with pytest.raises(LunEmpty):
        copied.claim(100, OTHER_JOB)
    attach(copied)
    with pytest.raises(NotABackupVd):
        copied.claim(100, OTHER_JOB)
    with copied.database.session(read_only=True) as session:
        offered = listing.nodes(session, 1).nodes
    assert [(one.iqn, one.backup_vds) for one in offered] == [(IQN, 0)]
    assert copied.live().read_bytes() == full(b"b")


def test_promoting_again_is_the_same_and_never_undoes_what_hosts_wrote(copied: World) -> None:
    first = copied.promoter.promote("b1", confirmed="b1")
    attach(copied)
    copied.write(HOST, 0, full(b"x"))
    again = copied.promoter.promote("b1", confirmed="b1")
    assert again.promoted_at == first.promoted_at
    with pytest.raises(PromotedOtherwise):
        copied.promoter.promote("b1", generation=1, confirmed="b1")
    assert copied.live().read_bytes() == full(b"x")
    assert copied.promoter.promote("b1", generation=2).epoch == first.epoch


def test_while_a_target_daemon_does_not_confirm_nobody_may_write_and_it_goes_on_later(
    copied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> None:
        raise StaleEpoch(epoch=1, job="x", vd="b1", current=2)  # any failure of the driver

    with monkeypatch.context() as patch:
        patch.setattr(copied.target, "fence_node", hang)
        with pytest.raises(FencingFailed):
            copied.promoter.promote("b1", confirmed="b1")
    assert type_of(copied) is VdType.BACKUP
    with pytest.raises(Superseded):
        copied.claim(9)
    with copied.database.session() as session:
        nodes.attach(session, node="backup-1", vd="b1", lun=1)
    copied.reconcile()
    with pytest.raises(PeerBusy):
        copied.recovery.claim(IQN, claim_message(9, OTHER_JOB))
    copied.promoter.promote("b1")
    assert type_of(copied) is VdType.RAID
    assert copied.live().read_bytes() == full(b"b")


@pytest.mark.parametrize("survivor", ["tgtd", None])
@pytest.mark.parametrize("generation", [None, 1])
def test_a_death_before_any_step_is_gone_on_from(
    make_world: Callable[[], World], generation: int | None, survivor: str | None
) -> None:
    wanted = full(b"b" if generation is None else b"a")
    fatal = 0
    while True:
        world = make_world()
        _copied(world)
        world.steps.taken, world.steps.fatal = 0, fatal
        try:
            world.promoter.promote("b1", generation=generation, confirmed="b1")
        except Crash:
            world.restart(new_tgtd=survivor is None)
        else:
            break
        assert world.points() == {1: full(b"a"), 2: full(b"b")}
        with world.database.session(read_only=True) as session:
            row = session.get(Promotion, VD)
            decided = row is not None
        if decided:
            assert world.target.specs[IQN].luns == ()
            with pytest.raises(Superseded):
                world.claim(9)
        else:
            assert len(world.target.specs[IQN].luns) == 1
        world.promoter.promote("b1", generation=generation, confirmed="b1")
        assert type_of(world) is VdType.RAID
        assert world.live().read_bytes() == wanted
        fatal += 1
    assert fatal >= 4
