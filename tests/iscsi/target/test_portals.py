"""Portals of a real tgtd that somebody else changes too."""

import contextlib
from typing import Any

import pytest

from qreplica.iscsi.target import portals
from qreplica.iscsi.target.driver import PortalSpec
from qreplica.iscsi.target.errors import TargetCommandFailed
from qreplica.iscsi.target.mgmt import Management, Mode, Op

pytestmark = pytest.mark.root


def test_a_portal_that_another_closes_first_is_closed(tgtd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tgtd.open()
    real = Management.request

    def interrupted(management: Management, mode: Mode, op: Op, *rest: str, **options: Any) -> str:
        if op is Op.DELETE:
            with contextlib.suppress(TargetCommandFailed):
                real(management, mode, op, *rest, **options)
        return real(management, mode, op, *rest, **options)

    monkeypatch.setattr(Management, "request", interrupted)
    portals.listen_on(tgtd.management, frozenset())
    assert portals.listening(tgtd.management) == frozenset()


def test_a_portal_that_cannot_be_closed_is_told_of(tgtd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tgtd.open()
    real = Management.request

    def misdirected(management: Management, mode: Mode, op: Op, *rest: str, **options: Any) -> str:
        given = ("portal=127.0.0.9:9",) if op is Op.DELETE else rest
        return real(management, mode, op, *given, **options)

    monkeypatch.setattr(Management, "request", misdirected)
    with pytest.raises(TargetCommandFailed):
        portals.listen_on(tgtd.management, frozenset())
    assert portals.listening(tgtd.management) == {PortalSpec(*tgtd.address)}
