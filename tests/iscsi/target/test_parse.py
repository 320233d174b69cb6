"""Answers recorded from tgtd 1.0.85."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.iscsi.target import parse
from qreplica.iscsi.target.driver import Counters, PortalSpec, TargetSession
from qreplica.iscsi.target.errors import TargetAnswerUnknown

NODES = """LLDs:
    iscsi: ready
        Target 7: iqn.2026-11.org.qreplica:one
        Target 180150001: iqn.2026-11.org.qreplica:two
    iser: error
"""
PORTALS = "Portal: 127.0.0.1:42161,1\nPortal: [::1]:3260,1\nPortal: 0.0.0.0:3260,1\n"
ACCOUNTS = "Account list:\n    host\n    box-1\n"
CONNECTIONS = """Session: 2
    Connection: 0
        Initiator: iqn.2026-11.org.qreplica:b
        IP Address: 127.0.0.1
Session: 1
    Connection: 0
        Initiator: iqn.2026-11.org.qreplica:a
        IP Address: 192.168.1.1
    Connection: 1
        Initiator: iqn.2026-11.org.qreplica:a
        IP Address: ::1
"""
STAT = (
    "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n"
    "180150001   0   1            0      0            0      0            0      0            0      0    0\n"
    "180150001   1   1         1024      4          512      2        65536     17        61440     15    1\n"
    "180150001   1   9            0      0          512      1         4096      1         4096      1    0\n"
)


def test_nodes() -> None:
    assert parse.nodes(NODES) == {
        "iqn.2026-11.org.qreplica:one": 7,
        "iqn.2026-11.org.qreplica:two": 180150001,
    }
    assert parse.nodes("LLDs:\n    iscsi: ready\n    iser: error\n") == {}


def test_portals() -> None:
    assert parse.portals(PORTALS) == {
        PortalSpec("127.0.0.1", 42161),
        PortalSpec("::1", 3260),
        PortalSpec("0.0.0.0", 3260),  # noqa: S104 - what tgtd answers
    }
    assert parse.portals("") == frozenset()
    with pytest.raises(TargetAnswerUnknown):
        parse.portals("Portal nothing\n")


def test_accounts() -> None:
    assert parse.accounts(ACCOUNTS) == {"host", "box-1"}
    assert parse.accounts("") == frozenset()


def test_sessions() -> None:
    assert parse.sessions(CONNECTIONS) == [
        TargetSession(1, "iqn.2026-11.org.qreplica:a", ("192.168.1.1", "::1")),
        TargetSession(2, "iqn.2026-11.org.qreplica:b", ("127.0.0.1",)),
    ]
    assert parse.connections(CONNECTIONS) == [(2, 0), (1, 0), (1, 1)]
    assert parse.sessions("") == []


def test_a_closed_connection_has_no_address() -> None:
    text = "Session: 3\n    Connection: 0\n        Initiator: iqn.a\n        \n"
    assert parse.sessions(text) == [TargetSession(3, "iqn.a", ())]
    assert parse.connections(text) == [(3, 0)]


def test_statistics() -> None:
    assert parse.session_numbers(STAT) == {1, 9}
    assert parse.counters(STAT) == Counters(1024, 3, 65536, 16)


@pytest.mark.parametrize(
    "text",
    ["", "another heading\n", STAT + "180150001 1\n", STAT + STAT.splitlines()[1].replace("0", "x") + "\n"],
)
def test_unknown_statistics_are_an_error(text: str) -> None:
    with pytest.raises(TargetAnswerUnknown):
        parse.session_numbers(text)


@given(st.text())
def test_any_name_an_initiator_may_choose_leaves_the_other_sessions_listed(name: str) -> None:
    """Lines in a name can add connections to the list, never hide one: closing what is not there does no harm."""
    text = CONNECTIONS.replace("iqn.2026-11.org.qreplica:b", name)
    assert set(parse.connections(text)) >= {(2, 0), (1, 0), (1, 1)}
    parse.sessions(text)
