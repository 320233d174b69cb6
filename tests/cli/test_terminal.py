"""What only a person at a terminal sees: questions, secrets without echo, and confirmation."""

from typing import Any

import pytest

from qreplica.iscsi import nodes
from qreplica.replication import creation
from qreplica.state.models import VdType
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB

SECRET = "twelve-or-more"


def make_vds(world: Any, type_: VdType, *names: str) -> None:
    world.add_disks("d1")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    for name in names:
        virtual_disks.create(world.database, world.storage, name=name, raid_group="rg1", size=GIB, type_=type_)


def test_deleting_says_what_is_lost_and_has_the_name_typed(world: Any, logged_in: Any) -> None:
    make_vds(world, VdType.RAID, "payroll")
    shown = logged_in.talk("vd", "delete", "payroll", answers=[("to go on", "payrol")], code=4)
    assert "All 1 GiB of VD “payroll” and its 0 snapshots will be lost." in shown
    assert "was not confirmed" in shown
    assert len(logged_in.run("vd", "list", "--json").json()) == 1
    shown = logged_in.talk("vd", "delete", "payroll", answers=[("to go on", "payroll")])
    assert "VD “payroll” was deleted." in shown
    assert logged_in.run("vd", "list", "--json").json() == []


def test_the_wizard_asks_step_by_step_and_hides_the_secret(
    world: Any, logged_in: Any, served_target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No target daemon serves the node here: the log-on of the wizard's end is shown with real ones elsewhere.
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    target, port = served_target
    make_vds(world, VdType.RAID, "mail", "payroll")
    make_vds(target, VdType.BACKUP, "copy1", "copy2")
    small = {"name": "small", "raid_group": "rg1", "size": GIB // 2, "type_": VdType.BACKUP}
    virtual_disks.create(target.database, target.storage, **small)
    with target.database.session() as session:
        nodes.create(session, name="backups", chap_user="replica", chap_secret=SECRET)
        for vd in ("copy1", "copy2", "small"):
            nodes.attach(session, node="backups", vd=vd)
    shown = logged_in.talk(
        *("job", "create", "nightly", "--peer-port", str(port)),
        answers=[
            ("VD to replicate", "2"),
            ("Address of an iSCSI port", "127.0.0.1"),
            ("CHAP name", "replica"),
            # The last space comes when the echo is off and what was typed before is thrown away.
            ("CHAP secret of “replica”: ", SECRET),
            ("Backup VD", "3"),
            ("from 1 to 2", "2"),
        ],
    )
    assert "Job “nightly” was made: payroll → copy2 on target." in shown
    # What cannot be chosen is shown with the reason.
    assert "no: Backup VD “small” has 512 MiB" in " ".join(shown.split())
    assert SECRET not in shown
    (job,) = logged_in.run("job", "list", "--json").json()
    assert (job["target_lun"], job["chap_user"]) == (2, "replica")


def test_a_start_says_what_it_will_do_and_has_it_confirmed(world: Any, logged_in: Any) -> None:
    make_vds(world, VdType.RAID, "payroll")
    world.add_job("nightly", "payroll")
    shown = logged_in.talk("job", "start", "nightly", answers=[("Go on?", "n")], code=4)
    assert "makes a full copy, from payroll to payroll-copy on target: all of its 1 GiB." in shown
    assert logged_in.run("job", "show", "nightly", "--json").json()["state"] == "idle"
    shown = logged_in.talk("job", "start", "nightly", answers=[("Go on?", "y")])
    assert "Job “nightly” was started" in shown
    logged_in.run("job", "stop", "nightly")
    world.add_job("weekly", "payroll")
    shown = logged_in.talk("job", "start", "weekly", "--yes", answers=[])
    assert "Go on?" not in shown
    assert "Job “weekly” was started" in shown


def test_following_on_a_terminal_draws_a_bar(world: Any, logged_in: Any) -> None:
    make_vds(world, VdType.RAID, "payroll")
    world.add_job("nightly", "payroll")
    shown = logged_in.talk("job", "watch", "nightly", answers=[])
    assert "Job “nightly” is not running." in shown
