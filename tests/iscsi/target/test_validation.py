"""Desired states that no daemon can be brought to are refused before anything happens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.iscsi.target.driver import LARGEST_TID, Credentials, NodeSpec, scsi_id_for
from qreplica.iscsi.target.errors import NodeSpecInvalid
from qreplica.iscsi.target.validation import check


def test_a_right_one_passes(node: Callable[..., NodeSpec]) -> None:
    check(
        node(
            LARGEST_TID,
            initiators=frozenset({"iqn.2026-11.org.qreplica:job-1:e7", "eui.0123456789ABCDEF"}),
            chap=Credentials("host", "a secret, with a comma"),
            mutual_chap=Credentials("box", "another"),
        )
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tid": 0}, "number 0"),
        ({"tid": LARGEST_TID + 1}, str(LARGEST_TID)),
        ({"iqn": "iqn.2026-11.org.qreplica:Disk_1"}, "its name"),
        ({"iqn": "iqn.2026-11.org.qreplica:a b"}, "its name"),
        ({"iqn": "iqn.2026-11.o" + "x" * 300}, "its name"),
        ({"initiators": frozenset({"host"})}, "“host” is not"),
        ({"initiators": frozenset({"iqn.2026-11.a:b,initiator-address=ALL"})}, "is not an initiator name"),
        ({"initiators": frozenset({"iqn.2026-11.a:b\nc"})}, "is not an initiator name"),
        ({"chap": Credentials("a,password=x", "secret")}, "CHAP name"),
        ({"chap": Credentials("a b", "secret")}, "CHAP name"),
        ({"chap": Credentials("", "secret")}, "CHAP name"),
        ({"chap": Credentials("a", "")}, "CHAP secret"),
        ({"chap": Credentials("a", "x" * 256)}, "CHAP secret"),
        ({"chap": Credentials("a", "x\0y")}, "CHAP secret"),
        ({"mutual_chap": Credentials("a", "secret")}, "needs CHAP"),
        ({"chap": Credentials("a", "one"), "mutual_chap": Credentials("a", "two")}, "different secrets"),
    ],
)
def test_a_wrong_node_is_refused(node: Callable[..., NodeSpec], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeSpecInvalid, match=words) as refused:
        check(replace(node(), **changes))
    assert "secret, with" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"number": 0}, "LUN 0 is not between"),
        ({"number": 256}, "LUN 256 is not between"),
        ({"path": Path("relative")}, "absolute"),
        ({"path": Path("/a,readonly=0")}, "absolute"),
        ({"path": Path("/" + "x" * 1000)}, "absolute"),
        ({"vendor": "TOO LONG V"}, "vendor"),
        ({"product": "x,y"}, "product"),
        ({"serial": ""}, "serial"),
        ({"serial": "ü"}, "serial"),
        ({"scsi_id": "QREPLICA0123"}, "scsi_id"),
        ({"scsi_id": scsi_id_for("OTHER", "QR1")}, "scsi_id"),
    ],
)
def test_a_wrong_lun_is_refused(node: Callable[..., NodeSpec], changes: dict[str, Any], words: str) -> None:
    right = node().luns[0]
    own = {name: value for name, value in changes.items() if name in {"number", "path"}}
    identity = replace(right.identity, **{name: value for name, value in changes.items() if name not in own})
    with pytest.raises(NodeSpecInvalid, match=words):
        check(replace(node(), luns=(replace(right, identity=identity, **own),)))


def test_two_luns_of_one_number_are_refused(node: Callable[..., NodeSpec]) -> None:
    spec = node()
    with pytest.raises(NodeSpecInvalid, match="same number"):
        check(replace(spec, luns=spec.luns * 2))


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=36))
def test_an_identity_is_stable_and_its_own(serial: str) -> None:
    made = scsi_id_for("QREPLICA", serial)
    assert len(made) == 36
    assert made == scsi_id_for("QREPLICA", serial)
    assert made != scsi_id_for("QREPLICA", serial + "0")


def test_a_secret_does_not_show(node: Callable[..., NodeSpec]) -> None:
    assert "hush" not in repr(node(chap=Credentials("a", "hush")))
