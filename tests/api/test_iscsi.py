"""Nodes, LUNs, ports, controllers: what tgtd serves follows before the answer comes."""

import json
from typing import Any

import pytest

from qreplica.peer.messages import Claim
from qreplica.state.models import Controller, Duty, Node, Port, VirtualDisk

IQN = "iqn.2026-11.org.qreplica:source.hosts"


@pytest.fixture
def vd(world: Any, admin: Any) -> Any:
    world.add_disks("d1")
    admin.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
    return admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)


@pytest.fixture
def node(admin: Any) -> Any:
    body = {"name": "hosts", "chap_user": "host", "chap_secret": "twelve-or-more"}
    return admin.call("POST", "/nodes", body, expect=201)


def test_a_node_is_served_when_the_answer_comes(world: Any, admin: Any, node: Any) -> None:
    assert (node["iqn"], node["chap_user"], node["open_to_all"], node["luns"]) == (IQN, "host", True, [])
    assert world.target.specs[IQN].chap.secret == "twelve-or-more"
    assert world.target.specs[IQN].initiators is None
    admin.call("DELETE", "/nodes/hosts", expect=204)
    assert world.target.specs == {}


@pytest.mark.usefixtures("node")
def test_chap_and_initiators_change_what_is_served(world: Any, admin: Any) -> None:
    chap = {
        "chap_user": "other",
        "chap_secret": "another-secret",
        "mutual_user": "me",
        "mutual_secret": "the-third-secret",
    }
    changed = admin.call("PUT", "/nodes/hosts/chap", chap)
    assert (changed["chap_user"], changed["mutual_user"]) == ("other", "me")
    assert world.target.specs[IQN].mutual_chap.user == "me"
    assert admin.call("PUT", "/nodes/hosts/chap", {})["chap_user"] is None
    assert world.target.specs[IQN].chap is None
    names = ["iqn.1993-08.org.debian:01:b", "iqn.1993-08.org.debian:01:a"]
    changed = admin.call("PUT", "/nodes/hosts/initiators", {"initiators": names})
    assert (changed["open_to_all"], changed["initiators"]) == (False, sorted(names))
    assert world.target.specs[IQN].initiators == set(names)
    assert admin.call("PUT", "/nodes/hosts/initiators", {"initiators": None})["open_to_all"] is True


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"name": "Bad"}, 422, "not-a-name"),
        ({"name": "n", "chap_user": "u"}, 422, "chap-incomplete"),
        ({"name": "n", "chap_user": "u", "chap_secret": "short"}, 422, "chap-secret-invalid"),
        ({"name": "n", "initiators": ["nobody"]}, 422, "not-an-initiator"),
        ({"name": "hosts"}, 409, "name-taken"),
    ],
)
def test_a_bad_node_is_refused(world: Any, admin: Any, body: Any, status: int, kind: str) -> None:
    assert admin.call("POST", "/nodes", body, expect=status)["type"].endswith(kind)
    assert set(world.target.specs) == {IQN}


@pytest.mark.usefixtures("node")
def test_a_virtual_disk_is_attached_and_detached(world: Any, admin: Any, vd: Any) -> None:
    lun = admin.call("POST", "/luns", {"node": "hosts", "vd": "v"}, expect=201)
    assert lun == {"node": "hosts", "number": 1, "vd": "v", "type": "RAID", "size": vd["size"], "snapshot": None}
    (served,) = world.target.specs[IQN].luns
    assert (served.number, served.identity.serial, served.read_only) == (1, vd["serial"], False)
    assert admin.call("GET", "/luns/hosts/1") == lun
    assert admin.call("GET", "/luns") == [lun]
    assert admin.call("GET", "/virtual-disks/v")["luns"] == [{"node": "hosts", "number": 1, "snapshot": None}]
    assert admin.call("GET", "/nodes/hosts")["luns"] == [{"number": 1, "vd": "v", "snapshot": None}]
    assert admin.call("DELETE", "/virtual-disks/v", expect=409)["type"].endswith("vd-in-use")
    assert admin.call("DELETE", "/nodes/hosts", expect=409)["type"].endswith("node-has-luns")
    again = {"node": "hosts", "vd": "v", "number": 1}
    assert admin.call("POST", "/luns", again, expect=409)["type"].endswith("lun-taken")
    admin.call("DELETE", "/luns/hosts/1", expect=204)
    assert world.target.specs[IQN].luns == ()
    assert admin.call("GET", "/luns/hosts/1", expect=404)["type"].endswith("no-such-lun")
    assert admin.call("DELETE", "/luns/hosts/1", expect=404)["exit_code"] == 3
    admin.call("DELETE", "/virtual-disks/v", expect=204)


@pytest.mark.usefixtures("node", "vd")
def test_a_snapshot_is_attached_read_only_and_pinned(world: Any, admin: Any) -> None:
    admin.call("PATCH", "/virtual-disks/v", {"snapshot_space": "1GiB"})
    admin.call("POST", "/snapshots", {"vd": "v", "name": "s"}, expect=201)
    lun = admin.call("POST", "/luns", {"node": "hosts", "vd": "v", "snapshot": "s", "number": 7}, expect=201)
    assert (lun["number"], lun["snapshot"]) == (7, "s")
    assert world.target.specs[IQN].luns[0].read_only
    assert admin.call("GET", "/snapshots/v/s")["pinned_by"] == "LUN 7 of node hosts"
    assert admin.call("DELETE", "/snapshots/v/s", expect=409)["type"].endswith("snapshot-pinned")


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("number", [0, 256, "x"])
def test_a_lun_out_of_range_is_no_request(admin: Any, number: Any) -> None:
    assert admin.call("GET", f"/luns/hosts/{number}", expect=422)["places"][0]["place"] == "path.number"


def test_a_pairing_is_shown_and_reset(world: Any, admin: Any) -> None:
    admin.call("POST", "/nodes", {"name": "open"}, expect=201)
    with world.database.session() as session:
        session.query(Node).one().pairing_secret = "agreed"
    assert admin.call("GET", "/nodes/open")["paired"] is True
    admin.call("DELETE", "/nodes/open/pairing", expect=204)
    assert admin.call("GET", "/nodes/open")["paired"] is False


def test_ports_and_controllers_are_listed(admin: Any) -> None:
    ports = admin.call("GET", "/ports")
    assert [(port["controller"], port["number"], port["address"]) for port in ports] == [
        (1, number, f"192.168.1.{number}") for number in range(1, 5)
    ]
    (controller,) = admin.call("GET", "/controllers")
    assert (controller["number"], controller["standing"], controller["runs_jobs_of"]) == (1, "online", [1])


def test_the_last_port_is_closed_to_hosts_while_it_is_the_qreplica_port(world: Any, admin: Any) -> None:
    admin.call("PUT", "/ports/1/3/qreplica", expect=422)
    admin.call("PUT", "/ports/2/4/qreplica", expect=404)
    ports = admin.call("PUT", "/ports/1/4/qreplica")
    assert [port["qreplica"] for port in ports] == [False] * 3 + [True]
    assert {portal.address for portal in world.target.portals()} == {f"192.168.1.{number}" for number in (1, 2, 3)}
    ports = admin.call("DELETE", "/ports/1/4/qreplica")
    assert not any(port["qreplica"] for port in ports)
    assert len(world.target.portals()) == 4


def test_hosts_on_the_last_port_are_dropped_only_when_told_to(world: Any, admin: Any) -> None:
    with world.database.session() as session:
        session.get_one(Port, (1, 4)).hosts = ["iqn.2026-11.org.example:host (192.168.1.100)"]
    problem = admin.call("PUT", "/ports/1/4/qreplica", expect=409)
    assert problem["type"].endswith(":hosts-on-port")
    assert "192.168.1.100" in problem["detail"]
    assert not any(port["qreplica"] for port in admin.call("GET", "/ports"))
    admin.call("PUT", "/ports/1/4/qreplica?drop_hosts=true")
    assert admin.call("GET", "/ports")[3]["qreplica"]


def test_a_controllers_jobs_are_asked_back(world: Any, admin: Any) -> None:
    with world.database.session() as session:
        session.add_all([Duty(owner="1", controller=2), Duty(owner="2", controller=2)])
        session.add(Controller(number=2, management="http://192.0.2.2:8080"))
    one, other = admin.call("POST", "/controllers/1/fail-back", expect=202)
    assert (one["standing"], one["runs_jobs_of"]) == ("taken-over", [])
    assert (other["runs_jobs_of"], other["management"]) == ([1, 2], "http://192.0.2.2:8080")
    with world.database.session(read_only=True) as session:
        # What a controller has needs no handing back.
        assert [session.get_one(Duty, owner).asked_back for owner in ("1", "2")] == [True, False]
    assert admin.call("POST", "/controllers/3/fail-back", expect=422)["type"].endswith("request-invalid")


def test_a_backup_vd_is_taken_from_a_job_whose_subsystem_is_gone(world: Any, admin: Any) -> None:
    world.add_disks("d1", "d2")
    admin.call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)
    admin.call(
        "POST", "/virtual-disks", {"name": "b1", "raid_group": "rg1", "size": "1MiB", "type": "BACKUP"}, expect=201
    )
    admin.call("POST", "/nodes", {"name": "backups"}, expect=201)
    admin.call("POST", "/luns", {"node": "backups", "vd": "b1"}, expect=201)
    with world.database.session(read_only=True) as session:
        node, vd = session.query(Node).one(), session.query(VirtualDisk).one()
    claim = Claim(
        job="1" * 32,
        job_name="nightly",
        source_subsystem="2" * 32,
        source_subsystem_name="gone",
        lun=1,
        vd=vd.id,
        source_size=vd.size,
        epoch=1,
    )
    lineage = world.services.recovery.claim(node.iqn, claim)
    assert world.target.specs[node.iqn].initiators == frozenset({lineage.initiator})
    assert admin.call("DELETE", "/luns/backups/1", expect=409)["type"] == "urn:qreplica:error:lun-claimed"
    admin.call("DELETE", "/nodes/backups/claim", expect=204)
    admin.call("DELETE", "/nodes/backups/claim", expect=204)
    assert lineage.initiator not in world.target.specs[node.iqn].initiators
    admin.call("DELETE", "/luns/backups/1", expect=204)


def test_a_port_is_set_for_the_next_start_of_its_controller(world: Any, admin: Any) -> None:
    first = admin.call("GET", "/ports")[0]
    assert (first["address"], first["pending"], first["gateway"]) == ("192.168.1.1", None, None)
    setting = {"address": "10.0.0.1", "prefix_length": 16, "gateway": "10.0.0.254", "mtu": 9000}
    answer = admin.call("PATCH", "/ports/1/1", setting)
    assert (answer["address"], answer["pending"]) == ("192.168.1.1", setting)
    assert admin.call("PATCH", "/ports/1/1", {"gateway": None})["pending"] == setting | {"gateway": None}
    assert admin.call("GET", "/ports")[0]["pending"] == setting | {"gateway": None}
    for path, body, status, kind in (
        ("/ports/2/1", {"mtu": 9000}, 404, "no-such-port"),
        ("/ports/1/1", {}, 422, "nothing-to-set"),
        ("/ports/1/1", {"address": None}, 422, "request-invalid"),
        ("/ports/1/1", {"interface": "eth0"}, 422, "request-invalid"),
        ("/ports/1/1", {"address": "10.0.255.255"}, 422, "port-address-invalid"),
        ("/ports/1/2", {"address": "10.0.0.1"}, 409, "port-address-taken"),
        ("/ports/1/2", {"address": "10.0.0.2"}, 409, "port-subnets-overlap"),
        ("/ports/1/1", {"gateway": "10.1.0.1"}, 422, "port-gateway-invalid"),
        ("/ports/1/1", {"mtu": 9217}, 422, "port-mtu-invalid"),
    ):
        assert admin.call("PATCH", path, body, expect=status)["type"] == f"urn:qreplica:error:{kind}"
    with world.database.session() as session:
        session.get_one(Port, (1, 2)).hosts = ["iqn.2026-11.org.example:host (192.168.1.100)"]
    assert "192.168.1.100" in admin.call("PATCH", "/ports/1/2", {"mtu": 9000}, expect=409)["detail"]
    assert admin.call("PATCH", "/ports/1/2?drop_hosts=true", {"mtu": 9000})["pending"]["mtu"] == 9000
    entry = admin.call("GET", "/audit?operation=set_port")[0]
    assert (entry["subject"], entry["status"]) == ("/api/v1/ports/1/2?drop_hosts=true", 200)
    assert json.loads(entry["details"]) == {"mtu": 9000}
