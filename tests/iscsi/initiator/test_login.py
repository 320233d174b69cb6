"""Logging in to a real tgtd: CHAP both ways and each wrong way, names, access control, interfaces."""

from typing import Any

import pytest

from qreplica.iscsi.errors import (
    ChapInvalid,
    ChapRefused,
    InterfaceUnusable,
    IscsiNameInvalid,
    NodeUnknown,
    PortalUnreachable,
    TargetUnproven,
)
from qreplica.iscsi.initiator import Chap, Portal, Session, discover

pytestmark = pytest.mark.root

IQN = "iqn.2024-05.com.example:backup"
INITIATOR = "iqn.2024-05.com.example:initiator"
USER = Chap("replicator", "secret-of-twelve")
NODE = Chap("backup-node", "answer-of-twelve")


@pytest.fixture
def one_way(target: Any) -> Any:
    target.tgtd.add_account(1, USER.user, USER.secret)
    return target


@pytest.fixture
def both_ways(one_way: Any) -> Any:
    one_way.tgtd.add_account(1, NODE.user, NODE.secret, "--outgoing")
    return one_way


def test_chap_lets_us_in(one_way: Any) -> None:
    with Session.connect(one_way.portal, IQN, INITIATOR, chap=USER) as session:
        assert session.header_digest
        assert session.capacity(1).size > 0


def test_mutual_chap_lets_us_in(both_ways: Any) -> None:
    with Session.connect(both_ways.portal, IQN, INITIATOR, chap=USER, mutual=NODE) as session:
        assert session.capacity(1).size > 0


@pytest.mark.parametrize(
    ("chap", "given"),
    [
        (Chap(USER.user, "wrong-secret-12"), "name replicator"),
        (Chap("somebody", USER.secret), "name somebody"),
        (None, "none was given"),
    ],
)
def test_wrong_chap_information_is_refused_and_not_repeated(one_way: Any, chap: Chap | None, given: str) -> None:
    with pytest.raises(ChapRefused, match=given) as caught:
        Session.connect(one_way.portal, IQN, INITIATOR, chap=chap)
    sentence = str(caught.value)
    assert IQN in sentence
    assert str(one_way.portal) in sentence
    assert "secret-of-twelve" not in sentence
    assert "wrong-secret-12" not in sentence


@pytest.mark.parametrize("mutual", [Chap(NODE.user, "wrong-answer-12"), Chap("impostor", NODE.secret)])
def test_a_node_that_proves_something_else_is_not_trusted(both_ways: Any, mutual: Chap) -> None:
    with pytest.raises(TargetUnproven, match="impostor"):
        Session.connect(both_ways.portal, IQN, INITIATOR, chap=USER, mutual=mutual)


def test_a_node_that_proves_nothing_is_not_trusted(one_way: Any) -> None:
    with pytest.raises((TargetUnproven, ChapRefused)):
        Session.connect(one_way.portal, IQN, INITIATOR, chap=USER, mutual=NODE)


def test_a_node_without_chap_is_not_trusted_when_a_proof_is_wanted(target: Any) -> None:
    with pytest.raises(TargetUnproven):
        Session.connect(target.portal, IQN, INITIATOR, chap=USER, mutual=NODE)


def test_a_node_that_wants_no_chap_lets_in_who_offers_it(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, chap=USER) as session:
        session.ping()


def test_chap_combinations_that_prove_nothing_are_refused_before_connecting() -> None:
    nobody = Portal("127.0.0.1", 1)
    with pytest.raises(ChapInvalid, match="for the initiator too"):
        Session.connect(nobody, IQN, INITIATOR, mutual=NODE)
    with pytest.raises(ChapInvalid, match="same secret"):
        Session.connect(nobody, IQN, INITIATOR, chap=USER, mutual=Chap("other", USER.secret))


def test_an_unknown_node_is_named(target: Any) -> None:
    with pytest.raises(NodeUnknown, match=r"no iSCSI node iqn.2024-05.com.example:nothing"):
        Session.connect(target.portal, "iqn.2024-05.com.example:nothing", INITIATOR)


def test_an_initiator_that_is_not_admitted_is_named(target: Any) -> None:
    closed = "iqn.2024-05.com.example:closed"
    target.tgtd.add_node(2, closed, admit=INITIATOR + ":e2")
    with pytest.raises(NodeUnknown, match=r"to initiator iqn.2024-05.com.example:initiator:e1: .*admits this"):
        Session.connect(target.portal, closed, INITIATOR + ":e1")
    with Session.connect(target.portal, closed, INITIATOR + ":e2") as session:
        session.ping()


def test_names_that_are_none_are_refused_before_connecting() -> None:
    with pytest.raises(IscsiNameInvalid, match="“backup”"):
        Session.connect(Portal("127.0.0.1", 1), "backup", INITIATOR)
    with pytest.raises(IscsiNameInvalid, match="“me”"):
        discover(Portal("127.0.0.1", 1), "me")


def test_a_session_bound_to_an_interface(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, interface="lo") as session:
        session.ping()
    assert len(discover(target.portal, INITIATOR, interface="lo")) == 1


@pytest.mark.parametrize("interface", ["", "nothere0", "lo,lo", "x" * 40, "lo\0"])
def test_an_interface_that_is_not_there_is_an_error_not_ignored(target: Any, interface: str) -> None:
    with pytest.raises(InterfaceUnusable, match="port of that name"):
        Session.connect(target.portal, IQN, INITIATOR, interface=interface)


def test_the_interface_decides_the_way(target: Any, dead_end: str) -> None:
    with pytest.raises(PortalUnreachable):
        Session.connect(target.portal, IQN, INITIATOR, interface=dead_end, timeout=0.5)


def test_no_header_digest_where_none_is_wanted(target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR, header_digest=False) as session:
        assert not session.header_digest
        session.write(1, 0, b"x" * 512)


def test_nobody_listens() -> None:
    with pytest.raises(PortalUnreachable, match="connection refused"):
        Session.connect(Portal("127.0.0.1", 1), IQN, INITIATOR)


def test_there_is_no_route() -> None:
    with pytest.raises(PortalUnreachable, match=r"unreachable|cannot assign|permission"):
        Session.connect(Portal("255.255.255.255"), IQN, INITIATOR, timeout=2.0)


def test_discovery_says_why_it_failed() -> None:
    with pytest.raises(PortalUnreachable, match="connection refused"):
        discover(Portal("127.0.0.1", 1), INITIATOR)
