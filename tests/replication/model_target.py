"""The target of the model: two controllers, power failures, deaths and hangs in the middle of a request, and a count of
what old epochs try.

An iSCSI session lives here until a daemon ends it, whatever has become of its initiator: what is queued in it may be
carried out at any moment until then.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from qreplica.iscsi.errors import NodeUnknown
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import messages
from qreplica.replication.links import Target, Way
from qreplica.state.models import Base, Claim, Node

from .fakes import FakeSession, Sent, lost
from .model_service import Service
from .pair import ADDRESSES, IQN, TARGET_GROUP, TARGET_VD, DirectLinks, DirectPeer, Pair
from .recovery.world import Beside

_REFUSED = "a command of an old session"


class OpenSession(FakeSession):
    """A session as the target sees it: ``closed`` once a daemon has ended it."""

    def __init__(self, pair: "TargetPair", epoch: int, before: Callable[[str], None]) -> None:
        super().__init__(pair.disk, pair.chance, before)
        self.pair = pair
        self.epoch = epoch
        self.closed = False
        #: What was done before its initiator asked for it.
        self.carried_out: list[Sent] = []

    def _execute(self, command: Sent) -> None:
        if any(one is command for one in self.carried_out):
            return
        if self.epoch < self.pair.answered:
            self.pair.stale_writes.append(f"{command.kind} at {command.offset} of epoch {self.epoch}")
        super()._execute(command)

    def carry_out_some(self, *, all_of_it: bool = False) -> None:
        """Do what is queued, or a part of it; the initiator hears of it when it asks, if it still can."""
        for command in self.in_flight:
            if all_of_it or self.chance.random() < 0.5:
                self._execute(command)
                self.carried_out.append(command)


class Daemon(MemoryTargetDriver):
    """A target daemon that ends sessions, not before what they had queued is carried out or forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[OpenSession] = []

    def _end(self, iqn: str, timeout: float) -> None:
        super()._end(iqn, timeout)
        for session in self.open:
            session.carry_out_some()
        self.lose_sessions()

    def lose_sessions(self) -> None:
        """All sessions are gone, and what was queued in them."""
        for session in self.open:
            session.closed = True
            session.in_flight.clear()
        self.open.clear()


class OtherDaemon(Beside):
    """The other controller's target daemon, which is ended as a whole where commands hang."""

    _target: Daemon

    def remove_node(self, iqn: str) -> None:
        if iqn in self._target._stuck:
            self._target.let_commands_end(iqn)
            self._target.lose_sessions()
        super().remove_node(iqn)


class TargetPair(Pair):
    """A pair whose job has a path to each of the target's controllers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        #: The newest epoch whose claim the target has answered: on that, nobody older may write.
        self.answered = 0
        self.stale_writes: list[str] = []
        self.refused: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.daemons = dict(zip(ADDRESSES, (Daemon(), Daemon()), strict=True))
        self.second_path()
        self.services: dict[str, Service] = {}
        for address in ADDRESSES:
            self.services[address] = Service(self, address)

    def beside(self, address: str) -> OtherDaemon:
        """Return what stands for the controller's target daemon on the other one."""
        return OtherDaemon(self.daemons[address], self.target_database, lambda: self.serve(address))

    def serve(self, address: str) -> None:
        """Bring a target daemon in line with the database, as its own controller does unless that hangs."""
        daemon, service = self.daemons[address], self.services.get(address)
        if not self.hangs(daemon) and (service is None or service.hung is None):
            daemon.apply_node(self.spec())

    def spec(self) -> NodeSpec:
        with self.target_database.session(read_only=True) as session:
            return self._spec(session, session.scalars(select(Node)).one())

    def hangs(self, daemon: Daemon) -> bool:
        """Tell whether commands do not end there."""
        return IQN in daemon._stuck

    def restart_daemon(self, address: str) -> None:
        """One of the target daemons crashes; the page cache stays. It admits nobody before the next claim."""
        daemon = self.daemons[address]
        daemon.let_commands_end(IQN)
        daemon.lose_sessions()
        daemon.remove_node(IQN)
        if self.services[address].hung is None:
            spec = self.spec()
            daemon.apply_node(NodeSpec(spec.tid, spec.iqn, spec.luns, frozenset()))

    def reboot_target(self) -> None:
        """Power is lost on the whole target: sessions, and what was not flushed, are gone."""
        for daemon in self.daemons.values():
            daemon.lose_sessions()
        self.disk.lose_power(self.chance)
        for address in ADDRESSES:
            self.services[address].start()
            self.restart_daemon(address)

    def carry_out_some(self) -> None:
        """What is queued in open sessions is carried out, also of initiators that are dead."""
        for session in self._open():
            session.carry_out_some()

    def carry_out_all(self) -> None:
        """All that is queued is carried out."""
        for session in self._open():
            session.carry_out_some(all_of_it=True)

    def _open(self) -> list[OpenSession]:
        return [session for daemon in self.daemons.values() for session in daemon.open]

    def claim_epoch(self) -> int:
        with self.target_database.session(read_only=True) as session:
            return session.scalar(select(Claim.epoch)) or 0

    def target_state(self) -> tuple[object, ...]:
        """Return everything that the target holds: its rows, and the live backup VD's bytes as a reader sees them."""
        tables = ("claims", "recovery_points", "snapshots", "virtual_disks", "nodes")
        with self.target_database.session(read_only=True) as session:
            rows = [session.execute(select(Base.metadata.tables[table])).all() for table in tables]
        return str(rows), self.disk.content()

    def replicated(self) -> tuple[object, ...]:
        """Return who holds the backup VD, how far that is, its newest point, and its bytes as a reader sees them."""
        with self.target_database.session(read_only=True) as session:
            claims = session.execute(select(Base.metadata.tables["claims"])).all()
        return str(claims), [point.generation for point in self.points()][-1:], self.disk.content()

    def live(self) -> Path:
        return self.target_storage.vd_path(TARGET_GROUP, TARGET_VD)


class CountingPeer(DirectPeer):
    """Knows of its worker's claims."""

    def __init__(self, pair: TargetPair, links: "CountingLinks", service: Any) -> None:
        super().__init__(service, pair.target_database, links.steps)
        self._pair = pair
        self._links = links

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        self._steps.take("ask claim")
        self._links.claims = claim.epoch > self._pair.claim_epoch()
        lineage: messages.Lineage = self._recovery.claim(iqn, claim)
        self._links.claimed = claim.epoch
        self._steps.take("answer claim")
        return lineage


class CountingLinks(DirectLinks):
    """A worker's ways to the target.

    ``claimed`` is the epoch of its newest claim that was answered; ``claims`` tells that it has made one in this step
    that the target may follow.
    """

    pair: TargetPair
    claimed = 0
    claims = False

    def peer(self, target: Target, way: Way) -> DirectPeer:
        assert target.node == IQN
        self._check_reachable(way)
        return CountingPeer(self.pair, self, self.pair.services[way.address])

    def session(self, target: Target, way: Way, initiator: str) -> OpenSession:
        self.steps.take("log in")
        pair, steps = self.pair, self.steps
        daemon = pair.daemons[way.address]
        if IQN not in daemon.specs or way.address in pair.away or daemon.log_in(IQN, initiator) is None:
            raise NodeUnknown(portal=way.address, node=target.node, initiator=initiator)

        def before(kind: str) -> None:
            steps.take(kind)
            if session.closed:
                pair.refused[_REFUSED] += 1
            if session.closed or way.address in pair.away or pair.hangs(daemon):
                raise lost()

        session = OpenSession(pair, int(initiator.rpartition(":e")[2]), before)
        daemon.open.append(session)
        return session
