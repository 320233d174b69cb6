"""A snapshot shown to hosts: a disk of its own that nobody can write, and that stays as long as it is shown."""

import os
from http import HTTPStatus

import pytest

from qreplica.iscsi.errors import CommandFailed, LunMissing, WriteProtected
from qreplica.units import MIB

from .running import HOST, Controller, eventually, identity, provision

pytestmark = pytest.mark.root
_DATA_PROTECT, _WRITE_PROTECTED = 0x07, 0x2700


def test_a_snapshot_is_a_read_only_disk_of_its_own(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    old, new = os.urandom(4 * MIB), os.urandom(4 * MIB)
    with controller.log_in(iqn) as host:
        host.write(1, 0, old)
        controller.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
        host.write(1, 0, new)
        live = identity(host)
    node = controller.call("POST", "/nodes", {"name": "look", "initiators": [HOST]}, expect=201)["iqn"]
    controller.call("POST", "/luns", {"node": "look", "vd": "v1", "snapshot": "s1"}, expect=201)
    controller.call("POST", "/virtual-disks/v1/extend", {"size": "80MiB"})
    with controller.log_in(node) as look:
        assert look.capacity(1).size == 64 * MIB
        assert look.read(1, 0, 4 * MIB) == old
        writes = (
            lambda: look.write(1, 0, new),
            lambda: look.write_zeros(1, 0, MIB),
            lambda: look.unmap(1, [(0, MIB)]),
        )
        for write in writes:
            with pytest.raises(CommandFailed) as caught:
                write()
            assert (caught.value.sense_key, caught.value.asc_ascq) == (_DATA_PROTECT, _WRITE_PROTECTED)
            assert isinstance(caught.value, WriteProtected)
        assert look.read(1, 0, 4 * MIB) == old
        shown = identity(look)
        assert shown[0] != live[0]
        assert not set(shown[1]) & set(live[1])
        pinned = controller.call("DELETE", "/snapshots/v1/s1", expect=409)
        assert "LUN 1 of node look" in pinned["detail"]
    # Whoever looks at a snapshot does not use the VD.
    with controller.log_in(node) as look:
        rolled_back = "/snapshots/v1/s1/roll-back"
        eventually(lambda: controller.http.post(rolled_back, json={"confirm": "v1"}).status_code == HTTPStatus.OK)
        assert look.read(1, 0, 4 * MIB) == old
    with controller.log_in(iqn) as host:
        assert host.capacity(1).size == 80 * MIB
        assert host.read(1, 0, 4 * MIB) == old
    controller.kill()
    controller.start()
    with controller.log_in(node) as look:
        assert identity(look) == shown
        controller.call("DELETE", "/luns/look/1", expect=204)
        with pytest.raises(LunMissing):
            look.serial(1)
    controller.call("DELETE", "/snapshots/v1/s1", expect=204)
