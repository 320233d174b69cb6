"""A daemon that is killed while administrators change things: whatever it was at, the next start heals it."""

import random
import threading

import httpx
import pytest

from .running import Controller, provision

pytestmark = pytest.mark.root
KILLS = 3


def change(controller: Controller, chance: random.Random) -> None:
    """Make and delete VDs, snapshots and nodes until the daemon is killed."""
    for number in range(1000):
        name = f"x{number}"
        steps = [
            ("POST", "/virtual-disks", {"name": name, "raid_group": "rg1", "size": "4MiB"}),
            ("PATCH", f"/virtual-disks/{name}", {"snapshot_space": "4MiB"}),
            ("POST", "/snapshots", {"vd": name, "name": "s1"}),
            ("POST", "/nodes", {"name": name}),
            ("POST", "/luns", {"node": name, "vd": name}),
            ("DELETE", f"/luns/{name}/1", None),
            ("DELETE", f"/nodes/{name}", None),
            ("DELETE", f"/snapshots/{name}/s1", None),
            ("DELETE", f"/virtual-disks/{name}", None),
        ]
        for method, path, body in steps[: chance.randint(3, len(steps))]:
            controller.http.request(method, path, json=body)


def remove_all(controller: Controller) -> None:
    """Delete everything that there is; each deletion must be possible."""
    for lun in controller.call("GET", "/luns"):
        controller.call("DELETE", f"/luns/{lun['node']}/{lun['number']}", expect=204)
    for node in controller.call("GET", "/nodes"):
        controller.call("DELETE", f"/nodes/{node['name']}", expect=204)
    for snapshot in controller.call("GET", "/snapshots"):
        controller.call("DELETE", f"/snapshots/{snapshot['vd']}/{snapshot['name']}", expect=204)
    for vd in controller.call("GET", "/virtual-disks"):
        controller.call("DELETE", f"/virtual-disks/{vd['name']}", expect=204)


def test_a_daemon_killed_at_any_moment_leaves_nothing_half_done(controller: Controller) -> None:
    chance = random.Random(20_261_125)
    controller.start()
    provision(controller)
    for _ in range(KILLS):
        changing = threading.Thread(target=_until_killed, args=(controller, chance))
        changing.start()
        threading.Event().wait(chance.uniform(0.3, 1.5))
        controller.kill()
        changing.join()
        controller.start()
        told = [event["kind"] for event in controller.call("GET", "/events")]
        assert not {"vd-unknown", "vd-missing"} & set(told)
        served = {(lun["node"], lun["number"]) for lun in controller.call("GET", "/luns")}
        for node in controller.call("GET", "/nodes"):
            with controller.log_in(node["iqn"]) as session:
                assert {(node["name"], lun) for lun in session.report_luns() if lun} <= served
    remove_all(controller)
    controller.call("DELETE", "/raid-groups/rg1", expect=204)
    for disk in ("d1", "d2"):
        controller.call("DELETE", f"/disks/{disk}", expect=204)


def _until_killed(controller: Controller, chance: random.Random) -> None:
    try:
        change(controller, chance)
    except httpx.TransportError:
        return


def test_a_group_made_while_the_daemon_is_killed_can_be_made_again(controller: Controller) -> None:
    chance = random.Random(7)
    controller.start()
    controller.set_up()
    for number in (1, 2):
        image = str(controller.directory / f"{number}.img")
        controller.call("POST", "/disks", {"name": f"d{number}", "image": image, "size": "1GiB"}, expect=201)
    body = {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}
    for _ in range(2):
        made = threading.Thread(target=_try, args=(controller, "POST", "/raid-groups", body))
        made.start()
        threading.Event().wait(chance.uniform(0.0, 0.4))
        controller.kill()
        made.join()
        controller.start()
        if controller.call("GET", "/raid-groups"):
            controller.call("DELETE", "/raid-groups/rg1", expect=204)
    group = controller.call("POST", "/raid-groups", body, expect=201)
    assert group["health"] == "online"


def _try(controller: Controller, method: str, path: str, body: object) -> None:
    try:
        controller.http.request(method, path, json=body)
    except httpx.TransportError:
        return
