"""The target driver for tgtd.

What the driver made it remembers; which nodes, sessions, accounts and portals exist it asks tgtd each time,
so a tgtd that was started anew needs no word to the driver. A node that exists but is not remembered, or
whose last change had an unknown outcome, is removed and made anew.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from qreplica.iscsi.target import parse
from qreplica.iscsi.target.accounts import Accounts
from qreplica.iscsi.target.connections import connections
from qreplica.iscsi.target.driver import (
    Counters,
    Credentials,
    NodeSpec,
    PortalSpec,
    TargetConnection,
    TargetDriver,
    TargetSession,
)
from qreplica.iscsi.target.ending import Deadline, end_node, end_sessions
from qreplica.iscsi.target.errors import (
    AccountTaken,
    FenceNeedsNewTid,
    LunMissing,
    NodeMissing,
    TargetCommandFailed,
    TargetDaemonSilent,
    TidTaken,
)
from qreplica.iscsi.target.luns import PATIENCE, Attachment, attach, attach_grown, detached, look_at
from qreplica.iscsi.target.mgmt import Management, Mode, Op, Refusal
from qreplica.iscsi.target.portals import listen_on, listening
from qreplica.iscsi.target.validation import check

#: What sessions are offered. Bursts and segments far above tgtd's defaults (8 KiB segments, one R2T at a time) made
#: sequential writes 1.3 to 4 times as fast. A NOP-In goes out every 30 s, and an initiator that left 10 unanswered is
#: dead: so patient because one that is only busy elsewhere does not answer either, and a dead session does no harm.
SESSION_PARAMETERS = {
    "MaxRecvDataSegmentLength": "1048576",
    "MaxXmitDataSegmentLength": "1048576",
    "MaxBurstLength": "16776192",
    "FirstBurstLength": "1048576",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxOutstandingR2T": "16",
    "HeaderDigest": "None,CRC32C",
    "nop_interval": "30",
    "nop_count": "10",
}
#: How long (seconds) old sessions may take to end when a node goes for another reason than a fence.
_END_TIMEOUT = 30.0
_POLL = 0.005


@dataclass(slots=True)
class _Node:
    """What was made of a node. ``rules`` may name too many, never too few."""

    iqn: str
    tid: int
    luns: dict[int, Attachment] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)
    chap: Credentials | None = None
    mutual_chap: Credentials | None = None
    offline: bool = False

    @property
    def credentials(self) -> list[Credentials]:
        return [one for one in (self.chap, self.mutual_chap) if one is not None]


class TgtDriver(TargetDriver):
    """Speaks for the tgtd of one controller. ``direct_io`` makes it bypass the page cache."""

    def __init__(self, tgtd: Management, *, direct_io: bool = False) -> None:
        self._tgtd = tgtd
        self._open_flags = ",bsoflags=direct" if direct_io else ""
        self._accounts = Accounts(tgtd)
        self._made: dict[str, _Node] = {}
        self._one_at_a_time = threading.RLock()

    def apply_node(self, spec: NodeSpec) -> None:
        """Change only what differs from what was made."""
        with self._one_at_a_time:
            present, attachments = self._prepare(spec)
            tid = present.get(spec.iqn)
            node = self._made.get(spec.iqn)
            with self._changing(spec.iqn):
                if tid is not None and (node is None or not node.tid == tid == spec.tid):
                    self._end(spec.iqn, tid, _END_TIMEOUT)
                    tid = None
                if tid is None or node is None:
                    node = self._create(spec)
                self._configure(node, spec, attachments)

    def remove_node(self, iqn: str) -> None:
        """End the node, whatever was remembered of it."""
        with self._one_at_a_time:
            tid = self.nodes().get(iqn)
            if tid is not None:
                self._end(iqn, tid, _END_TIMEOUT)

    def nodes(self) -> dict[str, int]:
        """Ask for the list that holds nothing an initiator chose."""
        return parse.nodes(self._tgtd.request(Mode.DRIVER, Op.SHOW))

    def sessions(self, iqn: str) -> list[TargetSession]:
        """Ask for the connections; the names are as the initiators sent them."""
        tid = self._tid(iqn)
        with _missing(iqn):
            return parse.sessions(self._tgtd.request(Mode.CONNECTION, Op.SHOW, tid=tid))

    def fence_node(self, spec: NodeSpec, timeout: float) -> None:
        """End the old node for good, then make the new one."""
        with self._one_at_a_time:
            present, attachments = self._prepare(spec)
            tid = present.get(spec.iqn)
            if tid == spec.tid:
                raise FenceNeedsNewTid(iqn=spec.iqn, tid=spec.tid)
            with self._changing(spec.iqn):
                if tid is not None:
                    self._end(spec.iqn, tid, timeout)
                self._configure(self._create(spec), spec, attachments)

    def set_portals(self, portals: frozenset[PortalSpec]) -> None:
        """Close first, then open what can be opened."""
        with self._one_at_a_time:
            listen_on(self._tgtd, portals)

    def connections(self) -> list[TargetConnection]:
        """Look at its sockets."""
        return connections(self._tgtd)

    def portals(self) -> frozenset[PortalSpec]:
        """Ask what is listened on."""
        return listening(self._tgtd)

    def counters(self, iqn: str, lun: int) -> Counters:
        """Add up the present sessions."""
        tid = self._tid(iqn)
        with _missing(iqn, lun):
            return parse.counters(self._tgtd.request(Mode.LUN, Op.STAT, tid=tid, lun=lun))

    @contextlib.contextmanager
    def _changing(self, iqn: str) -> Iterator[None]:
        """Forget the node if the outcome of a request is unknown: it is then made anew by the next change."""
        try:
            yield
        except TargetDaemonSilent:
            self._made.pop(iqn, None)
            raise

    def _prepare(self, spec: NodeSpec) -> tuple[dict[str, int], dict[int, Attachment]]:
        """Refuse what cannot be made; return the present nodes, and the LUNs as they should become."""
        check(spec)
        present = self.nodes()
        for iqn, tid in present.items():
            if tid == spec.tid and iqn != spec.iqn:
                raise TidTaken(tid=tid, iqn=spec.iqn, owner=iqn)
        self._made = {iqn: node for iqn, node in self._made.items() if iqn in present}
        self._refuse_taken_names(spec)
        return present, {lun.number: look_at(spec.iqn, lun) for lun in spec.luns}

    def _refuse_taken_names(self, spec: NodeSpec) -> None:
        for wanted in (spec.chap, spec.mutual_chap):
            for node in self._made.values():
                for used in node.credentials:
                    if wanted and node.iqn != spec.iqn and used.user == wanted.user and used.secret != wanted.secret:
                        raise AccountTaken(user=wanted.user, iqn=spec.iqn, owner=node.iqn)

    def _tid(self, iqn: str) -> int:
        tid = self.nodes().get(iqn)
        if tid is None:
            raise NodeMissing(iqn=iqn)
        return tid

    def _users(self) -> list[str]:
        return [credentials.user for node in self._made.values() for credentials in node.credentials]

    def _create(self, spec: NodeSpec) -> _Node:
        self._tgtd.request(Mode.TARGET, Op.NEW, f"targetname={spec.iqn}", tid=spec.tid)
        for name, value in SESSION_PARAMETERS.items():
            self._tgtd.request(Mode.TARGET, Op.UPDATE, f"{name}={value}", tid=spec.tid)
        node = _Node(spec.iqn, spec.tid)
        self._made[spec.iqn] = node
        return node

    def _configure(self, node: _Node, spec: NodeSpec, wanted: dict[int, Attachment]) -> None:
        """Take away what is too much, change what differs, and grant access at the very end."""
        rules = _rules(spec)
        self._forbid(node, node.rules - rules)
        if (node.chap, node.mutual_chap) != (spec.chap, spec.mutual_chap):
            self._change_accounts(node, spec)
        for number, attachment in list(node.luns.items()):
            present = wanted.get(number)
            if present is not None and self._has_shown_growth(node, attachment, present):
                node.luns[number] = present
            elif present != attachment:
                self._detach(node, number)
        for number, attachment in wanted.items():
            if number not in node.luns:
                attach(self._tgtd, node.tid, node.iqn, attachment, self._open_flags)
                node.luns[number] = attachment
        if node.offline:
            self._tgtd.request(Mode.TARGET, Op.UPDATE, "state=ready", tid=node.tid)
            node.offline = False
        self._admit(node, rules - node.rules)

    def _forbid(self, node: _Node, rules: set[str]) -> None:
        for rule in sorted(rules):
            try:
                self._tgtd.request(Mode.TARGET, Op.UNBIND, rule, tid=node.tid)
            except TargetCommandFailed as error:
                if error.fields["code"] is not Refusal.NO_RULE:
                    raise
            node.rules.discard(rule)

    def _admit(self, node: _Node, rules: set[str]) -> None:
        for rule in sorted(rules):
            node.rules.add(rule)
            self._tgtd.request(Mode.TARGET, Op.BIND, rule, tid=node.tid)

    def _change_accounts(self, node: _Node, spec: NodeSpec) -> None:
        """Exchange the credentials while nobody is admitted: in between, tgtd would ask for none."""
        self._forbid(node, set(node.rules))
        if node.chap is not None:
            self._accounts.unbind(node.tid, node.chap, outgoing=False)
            node.chap = None
        if node.mutual_chap is not None:
            self._accounts.unbind(node.tid, node.mutual_chap, outgoing=True)
            node.mutual_chap = None
        self._accounts.keep_only(self._users())
        if spec.chap is not None:
            self._accounts.bind(node.tid, spec.chap, outgoing=False)
            node.chap = spec.chap
        if spec.mutual_chap is not None:
            self._accounts.bind(node.tid, spec.mutual_chap, outgoing=True)
            node.mutual_chap = spec.mutual_chap

    def _has_shown_growth(self, node: _Node, before: Attachment, now: Attachment) -> bool:
        return before.has_only_grown(now) and attach_grown(self._tgtd, node.tid, node.iqn, now, self._open_flags)

    def _detach(self, node: _Node, number: int) -> None:
        patience = Deadline(PATIENCE)
        while not detached(self._tgtd, node.tid, number):
            if patience.passed:
                node.offline = True
                end_sessions(self._tgtd, node.iqn, node.tid, Deadline(_END_TIMEOUT))
            time.sleep(_POLL)
        del node.luns[number]

    def _end(self, iqn: str, tid: int, timeout: float) -> None:
        # Forgotten first: if it does not end in time it is offline, and the next change must make it anew.
        self._made.pop(iqn, None)
        end_node(self._tgtd, iqn, tid, Deadline(timeout))
        self._accounts.keep_only(self._users())


def _rules(spec: NodeSpec) -> set[str]:
    """Return tgtd's access rules. Names only: an address that matches would admit any name."""
    if spec.initiators is None:
        return {"initiator-address=ALL"}
    return {f"initiator-name={name}" for name in spec.initiators}


@contextlib.contextmanager
def _missing(iqn: str, lun: int = 0) -> Iterator[None]:
    """Name what tgtd could not find."""
    try:
        yield
    except TargetCommandFailed as error:
        if error.fields["code"] is Refusal.NO_TARGET:
            raise NodeMissing(iqn=iqn) from error
        if error.fields["code"] is Refusal.NO_LUN:
            raise LunMissing(iqn=iqn, lun=lun) from error
        raise
