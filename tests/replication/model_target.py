"""The target of the model: two target daemons, power failures, deaths in the middle of a request, and a count of what
old epochs try.

An iSCSI session lives here until a daemon ends it, whatever has become of its initiator: what is queued in it may be
carried out at any moment until then.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from qreplica.iscsi.errors import NodeUnknown
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import messages
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication.links import Target, Way
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.models import Base, Claim, Node

from .fakes import FakeSession, Sent, lost
from .pair import ADDRESSES, IQN, TARGET_GROUP, TARGET_VD, Crash, DirectLinks, DirectPeer, Pair, Steps, _Forgetting
from .recovery.world import Stepping, SteppingDatabase

#: Recovery points that the target keeps, so that some are let go of.
KEEP = 3
_STEPS_OF_STORAGE = {"roll_back", "take_snapshot", "delete_snapshot", "flush", "resize_vd"}
_STEPS_OF_DAEMONS = {"fence_node", "remove_node", "apply_node"}
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

    def carry_out_some(self) -> None:
        """Do what is queued, or a part of it; the initiator hears of it when it asks, if it still can."""
        for command in self.in_flight:
            if self.chance.random() < 0.5:
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


class RequestsThatDie:
    """The target's service; when its daemon dies in a request, another one starts and the source hears nothing."""

    def __init__(self, pair: "TargetPair") -> None:
        self._pair = pair

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._ask(name, *arguments)

    def _ask(self, name: str, *arguments: Any) -> Any:
        pair = self._pair
        try:
            answer = getattr(pair.service, name)(*arguments)
        except StaleEpoch:
            pair.refused[f"{name} of an old epoch"] += 1
            raise
        except Crash:
            pair.seen[f"the target died in {name}"] += 1
            pair.start_service()
            raise PeerUnreachable(address=ADDRESSES[0], port=3261, reason="it died") from None
        if name == "claim":
            pair.answered = arguments[1].epoch
        return answer


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
        self.start_service()

    def start_service(self) -> None:
        """Have the service of the target begin anew; the target daemons went on meanwhile."""
        self.target_steps = Steps()
        steps: Any = self.target_steps
        storage: Any = Stepping(_Forgetting(self.target_storage, self.disk), steps, _STEPS_OF_STORAGE)
        database: Any = SteppingDatabase(self.target_database, steps)
        daemons: Any = {
            number: Stepping(daemon, steps, _STEPS_OF_DAEMONS)
            for number, daemon in enumerate(self.daemons.values(), start=1)
        }
        self.service = Recovery(database, storage, daemons, self._spec, NodeLocks())
        self.service._points = replace(self.service._points, keep=KEEP)
        self.recovery: Any = RequestsThatDie(self)
        with self.target_database.session(read_only=True) as session:
            spec = self._spec(session, session.scalars(select(Node)).one())
        for daemon in self.daemons.values():
            if not self.hangs(daemon):
                daemon.apply_node(spec)

    def hangs(self, daemon: Daemon) -> bool:
        """Tell whether commands do not end there."""
        return IQN in daemon._stuck

    def end_service_soon(self, step: int) -> None:
        """Have the service die at a step of what it is asked next."""

        def die(_: str) -> None:
            raise Crash

        steps = self.target_steps
        steps.at, steps.what = len(steps.taken) + step, die

    def restart_daemon(self, address: str) -> None:
        """One of the target daemons crashes; the page cache stays. It admits nobody before the next claim."""
        daemon = self.daemons[address]
        daemon.let_commands_end(IQN)
        daemon.lose_sessions()
        with self.target_database.session(read_only=True) as session:
            spec = self._spec(session, session.scalars(select(Node)).one())
        daemon.remove_node(IQN)
        daemon.apply_node(NodeSpec(spec.tid, spec.iqn, spec.luns, frozenset()))

    def reboot_target(self) -> None:
        """Power is lost on the whole target: sessions, and what was not flushed, are gone."""
        for daemon in self.daemons.values():
            daemon.lose_sessions()
        self.disk.lose_power(self.chance)
        self.start_service()
        for address in ADDRESSES:
            self.restart_daemon(address)

    def carry_out_some(self) -> None:
        """What is queued in open sessions is carried out, also of initiators that are dead."""
        for daemon in self.daemons.values():
            for session in daemon.open:
                session.carry_out_some()

    def claim_epoch(self) -> int:
        with self.target_database.session(read_only=True) as session:
            return session.scalar(select(Claim.epoch)) or 0

    def target_state(self) -> tuple[object, ...]:
        """Return everything that the target holds: its rows, and the live backup VD's bytes as a reader sees them."""
        tables = ("claims", "recovery_points", "snapshots", "virtual_disks", "nodes")
        with self.target_database.session(read_only=True) as session:
            rows = [session.execute(select(Base.metadata.tables[table])).all() for table in tables]
        return str(rows), self.disk.content()

    def live(self) -> Path:
        return self.target_storage.vd_path(TARGET_GROUP, TARGET_VD)


class CountingPeer(DirectPeer):
    """Knows of its worker's claims."""

    def __init__(self, pair: TargetPair, links: "CountingLinks") -> None:
        super().__init__(pair.recovery, pair.target_database, links.steps)
        self._pair = pair
        self._links = links

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        self._steps.take("ask claim")
        # The service may have begun anew since the worker made this client.
        self._links.claims = claim.epoch > self._pair.claim_epoch()
        lineage: messages.Lineage = self._pair.recovery.claim(iqn, claim)
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
        return CountingPeer(self.pair, self)

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
