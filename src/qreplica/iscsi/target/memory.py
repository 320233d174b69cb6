"""A target driver without a daemon, for tests of everything above drivers."""

import threading

from qreplica.iscsi.target import luns
from qreplica.iscsi.target.driver import (
    Counters,
    NodeSpec,
    PortalSpec,
    TargetConnection,
    TargetDriver,
    TargetSession,
)
from qreplica.iscsi.target.errors import (
    AccountTaken,
    FenceNeedsNewTid,
    FencingTimedOut,
    LunMissing,
    NodeMissing,
    TidTaken,
)
from qreplica.iscsi.target.validation import check


class MemoryTargetDriver(TargetDriver):
    """Keeps desired states (``specs``, by IQN) and sessions that tests pretend."""

    def __init__(self) -> None:
        self.specs: dict[str, NodeSpec] = {}
        self._portals: frozenset[PortalSpec] = frozenset()
        self._sessions: dict[str, list[TargetSession]] = {}
        self._connections: dict[int, TargetConnection] = {}
        self._counters: dict[tuple[str, int], Counters] = {}
        self._next_session = 1
        self._stuck: set[str] = set()
        self._one_at_a_time = threading.RLock()

    def apply_node(self, spec: NodeSpec) -> None:
        """Remember the desired state."""
        with self._one_at_a_time:
            self._refuse(spec)
            present = self.specs.get(spec.iqn)
            if present is not None and present.tid != spec.tid:
                self._end(spec.iqn, 0)
            self.specs[spec.iqn] = spec

    def remove_node(self, iqn: str) -> None:
        """Forget the node."""
        with self._one_at_a_time:
            if iqn in self.specs:
                self._end(iqn, 0)

    def nodes(self) -> dict[str, int]:
        """Return what was applied."""
        return {iqn: spec.tid for iqn, spec in self.specs.items()}

    def sessions(self, iqn: str) -> list[TargetSession]:
        """Return what ``log_in`` pretended."""
        self._spec(iqn)
        return list(self._sessions.get(iqn, ()))

    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """Forget the old sessions, then remember the new state."""
        with self._one_at_a_time:
            self._refuse(spec)
            present = self.specs.get(spec.iqn)
            if present is not None and present.tid == spec.tid:
                raise FenceNeedsNewTid(iqn=spec.iqn, tid=spec.tid)
            if present is not None:
                self._end(spec.iqn, timeout)
            self.specs[spec.iqn] = spec

    def set_portals(self, portals: frozenset[PortalSpec]) -> None:
        """Remember them."""
        with self._one_at_a_time:
            self._portals = portals
            cut_off = {number for number, one in self._connections.items() if one.portal not in portals}
            for number in cut_off:
                del self._connections[number]
            for sessions in self._sessions.values():
                sessions[:] = [one for one in sessions if one.session not in cut_off]

    def connections(self) -> list[TargetConnection]:
        """Return those that ``log_in`` named a portal for."""
        return list(self._connections.values())

    def portals(self) -> frozenset[PortalSpec]:
        """Return what was set."""
        return self._portals

    def counters(self, iqn: str, lun: int) -> Counters:
        """Return what ``set_counters`` pretended, or zeros."""
        if lun not in {one.number for one in self._spec(iqn).luns}:
            raise LunMissing(iqn=iqn, lun=lun)
        return self._counters.get((iqn, lun), Counters(0, 0, 0, 0))

    def log_in(
        self, iqn: str, initiator: str, address: str = "192.0.2.1", portal: PortalSpec | None = None
    ) -> TargetSession | None:
        """Pretend that an initiator logs in; return its session, or None if it is not admitted."""
        with self._one_at_a_time:
            admitted = self._spec(iqn).initiators
            if iqn in self._stuck or (admitted is not None and initiator not in admitted):
                return None
            session = TargetSession(self._next_session, initiator, (address,))
            self._next_session += 1
            if portal is not None:
                self._connections[session.session] = TargetConnection(portal, address)
            self._sessions.setdefault(iqn, []).append(session)
            return session

    def let_commands_hang(self, iqn: str) -> None:
        """Pretend that commands of the node's sessions do not end: it cannot be fenced or removed then."""
        self._stuck.add(iqn)

    def let_commands_end(self, iqn: str) -> None:
        """Undo ``let_commands_hang``."""
        self._stuck.discard(iqn)

    def set_counters(self, iqn: str, lun: int, counters: Counters) -> None:
        """Pretend that the LUN has done something."""
        self._counters[iqn, lun] = counters

    def _spec(self, iqn: str) -> NodeSpec:
        try:
            return self.specs[iqn]
        except KeyError:
            raise NodeMissing(iqn=iqn) from None

    def _refuse(self, spec: NodeSpec) -> None:
        check(spec)
        for other in self.specs.values():
            if other.iqn == spec.iqn:
                continue
            if other.tid == spec.tid:
                raise TidTaken(tid=spec.tid, iqn=spec.iqn, owner=other.iqn)
            secrets = {used.user: used.secret for used in (other.chap, other.mutual_chap) if used}
            for wanted in (spec.chap, spec.mutual_chap):
                if wanted and secrets.get(wanted.user, wanted.secret) != wanted.secret:
                    raise AccountTaken(user=wanted.user, iqn=spec.iqn, owner=other.iqn)
        for lun in spec.luns:
            luns.look_at(spec.iqn, lun)

    def _end(self, iqn: str, timeout: float) -> None:
        sessions = self._sessions.get(iqn, [])
        if sessions and iqn in self._stuck:
            self.specs[iqn] = NodeSpec(self.specs[iqn].tid, iqn)
            raise FencingTimedOut(iqn=iqn, count=len(sessions), seconds=timeout)
        self._sessions.pop(iqn, None)
        del self.specs[iqn]
        for key in [key for key in self._counters if key[0] == iqn]:
            del self._counters[key]
