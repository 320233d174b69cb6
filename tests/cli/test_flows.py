"""What an administrator does, from disks to a job, each command a process of its own."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from qreplica.units import GIB


def flat(text: str) -> str:
    """Return the text in one line, whatever the width of the terminal."""
    return " ".join(text.split())


@pytest.fixture
def stocked(world: Any, logged_in: Any) -> Any:
    """Give the shell of a subsystem that has an RG with a VD."""
    world.add_disks("d1", "d2")
    logged_in.run("rg", "create", "rg1", "--level", "raid1", "--disk", "d1", "--disk", "d2")
    logged_in.run("vd", "create", "payroll", "--rg", "rg1", "--size", "1GiB")
    return logged_in


def test_storage_from_disks_to_snapshots(world: Any, logged_in: Any) -> None:
    run = logged_in.execute
    world.add_disks("d1", "d2")
    (row,) = [line for line in run("disk", "list").out.splitlines() if line.startswith("d1")]
    assert row.split() == ["d1", "10", "GiB", "-", "free", str(world.directory / "d1"), "-"]
    made = run("rg", "create", "rg1", "--level", "raid1", "--disk", "d1", "--disk", "d2")
    assert made.out.startswith("RG “rg1” was made; ")
    assert run("vd", "create", "payroll", "--rg", "rg1", "--size", "1.5GiB").out == (
        "VD “payroll” of 1.50 GiB was made in RG “rg1”.\n"
    )
    ended = run("snapshot", "create", "payroll", "s1", code=5)
    assert "set-snapshot-space" in ended.err
    assert run("vd", "set-snapshot-space", "payroll", "3GiB").out == "The snapshots of VD “payroll” may use 3 GiB.\n"
    taken = run("snapshot", "create", "payroll", "s1", "--json").json()
    assert (taken["vd"], taken["name"], taken["taken_at"][-1]) == ("payroll", "s1", "Z")
    (row,) = [line for line in run("snapshot", "list", "--vd", "payroll").out.splitlines() if " s1 " in line]
    assert row.split()[:5] == ["payroll", "s1", "manual", "1.50", "GiB"]
    (row,) = [line for line in run("vd", "list").out.splitlines() if line.startswith("payroll")]
    assert row.split() == ["payroll", "RAID", "1.50", "GiB", "rg1", "-", "1", "3", "GiB", "0", "B", "-"]
    (row,) = [line for line in run("rg", "list").out.splitlines() if line.startswith("rg1")]
    assert row.split()[:4] == ["rg1", "raid1", "2", "online"]
    sheet = run("rg", "show", "rg1").out
    assert "Promised to VDs        1.50 GiB" in sheet
    assert "Promised to snapshots  3 GiB" in sheet
    run("snapshot", "delete", "payroll", "s1", "--yes")
    run("vd", "delete", "payroll", "--yes")
    run("rg", "delete", "rg1", "--yes")
    assert [disk["raid_group"] for disk in run("disk", "list", "--json").json()] == [None, None]


def test_nodes_and_luns(world: Any, stocked: Any) -> None:
    run = stocked.run
    secret = stocked.home / "chap"
    secret.write_text("twelve-or-more\n")
    run("node", "create", "hosts", "--chap-user", "host", "--chap-secret-file", str(secret))
    assert next(iter(world.target.specs.values())).chap.secret == "twelve-or-more"
    assert run("lun", "create", "hosts", "payroll").out == "VD “payroll” is LUN 1 of iSCSI node “hosts”.\n"
    (row,) = [line for line in run("lun", "list").out.splitlines() if line.startswith("hosts")]
    assert row.split() == ["hosts", "1", "payroll", "RAID", "1", "GiB", "-"]
    shown = run("node", "show", "hosts").out
    assert "Admits            every initiator" in shown
    assert "LUNs              1: payroll" in shown
    assert "twelve-or-more" not in shown + run("node", "show", "hosts", "--json").out
    run("node", "initiators", "hosts", "--initiator", "iqn.1993-08.org.debian:01:a")
    assert "iqn.1993-08.org.debian:01:a" in run("node", "list").out
    assert "asks for no CHAP" in run("node", "chap", "hosts").out
    ended = run("vd", "delete", "payroll", "--yes", code=4)
    assert "LUN 1 of node hosts" in ended.err
    run("lun", "delete", "hosts", "1", "--yes")
    run("node", "delete", "hosts", "--yes")
    assert run("lun", "list", "--json").json() == run("node", "list", "--json").json() == []


def test_a_vd_grows_and_gets_another_name(stocked: Any) -> None:
    assert stocked.run("vd", "extend", "payroll", "1.5GiB").out == "VD “payroll” has 1.50 GiB now.\n"
    assert "cannot shrink to 1 GiB" in stocked.run("vd", "extend", "payroll", "1GiB", code=2).err
    assert stocked.run("vd", "rename", "payroll", "wages").out == "VD “payroll” is called “wages” now.\n"
    assert stocked.run("vd", "show", "wages", "--json").json()["size"] == 3 * GIB // 2


def test_a_vd_is_rolled_back_and_gets_a_schedule(stocked: Any) -> None:
    run = stocked.run
    run("vd", "set-snapshot-space", "payroll", "2GiB")
    run("snapshot", "create", "payroll", "s1")
    assert run("snapshot", "roll-back", "payroll", "s1", code=4).out == ""
    told = run("snapshot", "roll-back", "payroll", "s1", "--yes").out
    assert told.startswith("VD “payroll” was rolled back to snapshot “s1”; snapshot “before-rollback-")
    assert run("snapshot", "roll-back", "payroll", "s1", "--lose-present", "--yes").out == (
        "VD “payroll” was rolled back to snapshot “s1”.\n"
    )
    assert len(run("snapshot", "list", "--json").json()) == 2
    scheduled = run("vd", "snapshots", "payroll", "--every", "60m", "--keep", "4").out
    assert scheduled == "Automatic snapshots of VD “payroll”: every 1h, the newest 4 kept.\n"
    assert "Automatic snapshots  every 1h, the newest 4 kept" in run("vd", "show", "payroll").out
    assert run("vd", "snapshots", "payroll", "--every", "never").out.endswith(": none.\n")
    assert "is not an interval" in run("vd", "snapshots", "payroll", "--every", "soon", code=2).err
    assert run("snapshot", "roll-back", "payroll", "nope", "--yes", code=3).out == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("vd", "show", "nope"), 3),
        (("vd", "create", "Bad Name", "--rg", "rg1", "--size", "1GiB"), 2),
        (("vd", "create", "v", "--rg", "rg1", "--size", "ten"), 2),
        (("vd", "create", "v", "--rg", "rg1", "--size", "100GiB"), 5),
        (("vd", "create", "payroll", "--rg", "rg1", "--size", "1GiB"), 4),
        (("job", "discover", "127.0.0.1", "--peer-port", "1"), 7),
        (("vd", "delete", "payroll"), 4),
    ],
)
def test_each_failure_has_its_exit_code_and_its_problem(stocked: Any, command: tuple[str, ...], code: int) -> None:
    ended = stocked.run(*command, "--json", code=code)
    assert ended.out == ""
    problem = ended.problem()
    assert problem["exit_code"] == code
    plain = stocked.run(*command, code=code)
    assert plain.out == ""
    assert plain.err == f"Error: {problem['detail']}\n"
    assert [vd["name"] for vd in stocked.run("vd", "list", "--json").json()] == ["payroll"]


def test_a_wrong_command_line_ends_with_2(shell: Any) -> None:
    shell.run("vd", "frobnicate", code=2)
    shell.run("vd", "create", code=2)


def test_names_cannot_lead_to_another_path(stocked: Any) -> None:
    for name in ("../jobs", "..", ".", "", "a/b"):
        assert stocked.run("vd", "show", name, code=2).err.startswith(f"Error: Nothing can be named “{name}”")
    stocked.run("vd", "show", "payroll?x=1", code=3)


def test_the_status_page_has_everything_on_one_page(stocked: Any) -> None:
    page = stocked.run("status").out
    for part in (
        "Serial number",
        "Controllers",
        "RAID groups",
        "rg1",
        "Replication jobs",
        "Latest events",
        "user admin",
    ):
        assert part in page, page
    answer = stocked.run("status", "--json").json()
    assert set(answer) == {"subsystem", "license", "controllers", "raid_groups", "jobs", "events"}
    assert answer["raid_groups"][0]["vd_space"] == GIB


def test_ports_controllers_and_events_are_listed(stocked: Any) -> None:
    (row,) = [line for line in stocked.run("port", "list").out.splitlines() if "192.168.1.4/24" in line]
    assert row.split() == ["1", "4", "192.168.1.4/24", "-", "-", "p4", "iSCSI", "-"]
    enabled = stocked.run("port", "enable-qreplica", "4").out
    assert "Port 4 of both controllers is the QReplica port now." in enabled
    (row,) = [line for line in stocked.run("port", "list").out.splitlines() if "192.168.1.4/24" in line]
    assert row.split()[6] == "QReplica"
    stocked.run("port", "enable-qreplica", "3", code=2)
    stocked.run("port", "enable-qreplica", "4", "--controller", "2", code=3)
    stocked.run("port", "disable-qreplica", "4")
    assert "QReplica" not in stocked.run("port", "list").out
    (row,) = [line for line in stocked.run("controller", "list").out.splitlines() if " online " in line]
    assert row.split() == ["1", "online", "-", "1", "-", "-", "-"]
    events = stocked.run("event", "list").out
    assert events.index("The first user, admin “admin”, was made.") < events.index("“admin” logged in")


def test_times_are_in_the_administrators_zone(stocked: Any) -> None:
    stocked.run("vd", "set-snapshot-space", "payroll", "1GiB")
    taken = stocked.run("snapshot", "create", "payroll", "s", "--json").json()["taken_at"]
    for zone, hours in (("Asia/Tokyo", 9), ("UTC", 0)):
        shown = stocked.run("snapshot", "show", "payroll", "s", TZ=zone).out
        local = datetime.fromisoformat(taken) + timedelta(hours=hours)
        assert f"Taken      {local:%Y-%m-%d %H:%M:%S}" in shown


def test_a_port_is_set_and_shown_until_its_controller_restarts(stocked: Any) -> None:
    done = stocked.run("port", "set", "4", "--address", "10.0.0.4/16", "--gateway", "10.0.0.1", "--mtu", "9000")
    assert "has 10.0.0.4/16, gateway 10.0.0.1, MTU 9000 bytes when controller 1 was restarted" in flat(done.out)
    assert "“qreplica controller restart 1”" in flat(done.out)
    listed = flat(stocked.run("port", "list", COLUMNS="200").out)
    assert "192.168.1.4/24" in listed
    assert "10.0.0.4/16, gateway 10.0.0.1, MTU 9000 bytes" in listed
    found = stocked.run("port", "set", "4", "--gateway", "none", "--json").json()
    assert found["pending"]["gateway"] is None
    stocked.run("port", "set", "3", "--address", "192.168.1.33")
    again = stocked.run("port", "set", "3", "--address", "192.168.1.3/24")
    assert "Port 3 of controller 1 is so already: 192.168.1.3/24" in flat(again.out)
    assert "an address and its prefix" in stocked.run("port", "set", "3", "--address", "10.0.0.1/x", code=2).err
    assert "Nothing is said" in stocked.run("port", "set", "3", code=2).err
    stocked.run("port", "set", "3", "--address", "192.168.1.4", code=4)
    stocked.run("port", "set", "3", "--controller", "2", "--mtu", "9000", code=3)
