"""What the tgtd driver does beyond what every driver promises."""

import contextlib
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreplica.iscsi.target import tgt as tgt_module
from qreplica.iscsi.target.driver import Counters, Credentials, LunSpec, NodeSpec, PortalSpec
from qreplica.iscsi.target.errors import LunFileUnusable, NodeMissing, PortalUnusable, TargetDaemonSilent
from qreplica.iscsi.target.mgmt import Mode, Op
from qreplica.iscsi.target.tgt import TgtDriver

pytestmark = pytest.mark.root
HOST = "iqn.2026-11.org.qreplica:host"
MIB = 1024**2
GOOD, CHECK_CONDITION = 0, 2


@pytest.fixture
def spec(tgtd: Any, node: Callable[..., NodeSpec]) -> NodeSpec:
    """A node that is there and reachable."""
    made = node()
    tgtd.driver.apply_node(made)
    tgtd.open()
    return made


def page(initiator: Any, lun: int, number: int) -> bytes:
    """A VPD page (SPC-4, 6.4.4)."""
    return initiator.read(lun, struct.pack(">BBBHB", 0x12, 1, number, 255, 0), 255)


def capacity(initiator: Any, lun: int) -> int:
    """READ CAPACITY (16) (SBC-3, 5.16): bytes."""
    data = initiator.read(lun, struct.pack(">BBQIBB", 0x9E, 0x10, 0, 32, 0, 0), 32)
    last_block, block = struct.unpack(">QI", data[:12])
    return (last_block + 1) * block


@contextlib.contextmanager
def logged_in(tgtd: Any, spec: NodeSpec, name: str = HOST) -> Iterator[Any]:
    with tgtd.initiator(spec.iqn, name) as initiator:
        initiator.log_in()
        yield initiator


def designators(data: bytes) -> list[tuple[int, bytes]]:
    """Type and content of each designator of VPD page 0x83 (SPC-4, 7.8.6)."""
    found, rest = [], data[4 : 4 + int.from_bytes(data[2:4], "big")]
    while rest:
        found.append((rest[1] & 0x0F, rest[4 : 4 + rest[3]]))
        rest = rest[4 + rest[3] :]
    return found


class TestIdentity:
    def test_a_vd_says_who_it_is(self, tgtd: Any, spec: NodeSpec) -> None:
        identity = spec.luns[0].identity
        with logged_in(tgtd, spec) as initiator:
            standard = initiator.read(1, struct.pack(">BBBHB", 0x12, 0, 0, 96, 0), 96)
            assert standard[8:16] == b"QREPLICA"
            assert standard[16:32] == b"VIRTUAL DISK    "
            assert not standard[1] & 0x80  # not removable
            assert page(initiator, 1, 0x80)[4:].decode().strip() == identity.serial
            assert page(initiator, 1, 0xB2)[5] & 0xE0 == 0xE0  # UNMAP, WRITE SAME (16) and (10) with UNMAP
            t10, _, naa = designators(page(initiator, 1, 0x83))
            assert t10 == (1, identity.scsi_id.encode())
            assert naa[0] == 3
            assert naa[1].hex() == "60ca" + identity.scsi_id[8:]

    def test_it_stays_the_same_disk_through_a_fence(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            before = designators(page(initiator, 1, 0x83))
        tgtd.driver.fence_node(replace(spec, tid=5), 10)
        with logged_in(tgtd, spec) as initiator:
            after = designators(page(initiator, 1, 0x83))
        assert (before[0], before[2]) == (after[0], after[2])
        assert before[1] != after[1]  # NAA of type 3 comes from the number: nobody who has a type 6 looks at it

    def test_two_controllers_show_one_disk(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            first = [page(initiator, 1, number) for number in (0x80, 0x83)]
        tgtd.process.kill()
        tgtd.process.start()
        TgtDriver(tgtd.management).apply_node(spec)
        tgtd.open()
        with logged_in(tgtd, spec) as initiator:
            assert [page(initiator, 1, number) for number in (0x80, 0x83)] == first


class TestLuns:
    def test_what_is_written_is_in_the_file_and_counted(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            before = tgtd.driver.counters(spec.iqn, 1)
            assert initiator.write(1, 8192, b"q" * 4096) == GOOD
            after = tgtd.driver.counters(spec.iqn, 1)
        assert (after.write_bytes - before.write_bytes, after.write_commands - before.write_commands) == (
            4096,
            1,
        )
        assert spec.luns[0].path.read_bytes()[8192:12288] == b"q" * 4096

    def test_ended_sessions_are_no_longer_counted(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            initiator.write(1, 0, bytes(4096))
            assert tgtd.driver.counters(spec.iqn, 1).write_bytes == 4096
            tgtd.driver.fence_node(replace(spec, tid=5), 10)
        assert tgtd.driver.counters(spec.iqn, 1) == Counters(0, 0, 0, 0)

    def test_a_read_only_lun_refuses_writes(
        self, tgtd: Any, node: Callable[..., NodeSpec], lun: Callable[..., LunSpec]
    ) -> None:
        spec = node(luns=(lun(1), lun(2, read_only=True)))
        tgtd.driver.apply_node(spec)
        tgtd.open()
        with logged_in(tgtd, spec) as initiator:
            for number in (1, 2):
                initiator.test_unit_ready(number)
            assert initiator.write(1, 0, b"a" * 512) == GOOD
            assert initiator.write(2, 0, b"b" * 512) == CHECK_CONDITION
        assert spec.luns[1].path.read_bytes()[:512] == bytes(512)

    def test_a_file_that_cannot_be_written_is_refused_unless_read_only(
        self, tgtd: Any, node: Callable[..., NodeSpec], lun: Callable[..., LunSpec], freezable: Any
    ) -> None:
        path = freezable.mount / "snapshot"
        path.write_bytes(bytes(MIB))
        subprocess.run(["mount", "-o", "remount,ro", str(freezable.mount)], check=True)
        with pytest.raises(LunFileUnusable, match="cannot be written"):
            tgtd.driver.apply_node(node(luns=(lun(path=path),)))
        assert tgtd.driver.nodes() == {}
        spec = node(luns=(lun(path=path, read_only=True),))
        tgtd.driver.apply_node(spec)
        tgtd.open()
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            assert initiator.write(1, 0, bytes(512)) == CHECK_CONDITION
        tgtd.driver.remove_node(spec.iqn)

    def test_a_grown_file_is_attached_anew_under_the_session(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            assert capacity(initiator, 1) == 64 * MIB
            with spec.luns[0].path.open("ab") as file:
                file.truncate(96 * MIB)
            tgtd.driver.apply_node(spec)
            assert capacity(initiator, 1) == 96 * MIB
            assert len(tgtd.driver.sessions(spec.iqn)) == 1

    def test_a_replaced_file_is_attached_anew(self, tgtd: Any, spec: NodeSpec) -> None:
        path = spec.luns[0].path
        path.rename(path.with_name("before roll-back"))
        path.write_bytes(bytes(64 * MIB))
        tgtd.driver.apply_node(spec)
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            assert initiator.write(1, 0, b"n" * 512) == GOOD
        assert path.read_bytes()[:512] == b"n" * 512

    def test_luns_come_and_go_under_the_session(self, tgtd: Any, spec: NodeSpec, lun: Callable[..., LunSpec]) -> None:
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            tgtd.driver.apply_node(replace(spec, luns=(*spec.luns, lun(7, size=MIB))))
            assert capacity(initiator, 7) == MIB
            assert capacity(initiator, 1) == 64 * MIB
            tgtd.driver.apply_node(spec)
            assert initiator.test_unit_ready(1) in {GOOD, CHECK_CONDITION}
            assert len(tgtd.driver.sessions(spec.iqn)) == 1

    def test_a_busy_lun_goes_too(
        self,
        tgtd: Any,
        hammer: Any,
        spec: NodeSpec,
        lun: Callable[..., LunSpec],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Under 16 writes at a time it is never idle, so its sessions are ended for it; they may come again."""
        monkeypatch.setattr(tgt_module, "PATIENCE", 0.05)
        with logged_in(tgtd, spec) as initiator:
            writers = hammer(initiator, 1, 64 * MIB)
            assert writers.busy.wait(10)
            tgtd.driver.apply_node(replace(spec, luns=(lun(2),)))
            writers.ended.wait(10)
        with logged_in(tgtd, spec) as initiator:
            assert capacity(initiator, 2) == 64 * MIB
        assert tgtd.process.pid is not None


class TestChap:
    ONE = Credentials("host", "first-secret-1")
    TWO = Credentials("host", "other-secret-2")
    BOX = Credentials("box", "target-secret-3")

    def login(
        self, tgtd: Any, spec: NodeSpec, credentials: Credentials | None, mutual: Credentials | None = None
    ) -> bool:
        """Log in by libiscsi, which knows CHAP."""
        environment = {}
        if mutual is not None:
            environment = {
                "LIBISCSI_CHAP_TARGET_USERNAME": mutual.user,
                "LIBISCSI_CHAP_TARGET_PASSWORD": mutual.secret,
            }
        prefix = f"{credentials.user}%{credentials.secret}@" if credentials else ""
        return tgtd.inquire(tgtd.url(spec.iqn, credentials=prefix), HOST, **environment).returncode == 0

    def test_both_directions(self, tgtd: Any, node: Callable[..., NodeSpec]) -> None:
        spec = node(chap=self.ONE, mutual_chap=self.BOX)
        tgtd.driver.apply_node(spec)
        tgtd.open()
        assert self.login(tgtd, spec, self.ONE)
        assert self.login(tgtd, spec, self.ONE, self.BOX)
        assert not self.login(tgtd, spec, self.ONE, replace(self.BOX, secret="wrong-secret-9"))
        assert not self.login(tgtd, spec, self.TWO)
        assert not self.login(tgtd, spec, None)

    def test_a_change_of_secret_and_name_while_in_use(self, tgtd: Any, spec: NodeSpec) -> None:
        with logged_in(tgtd, spec) as initiator:
            initiator.test_unit_ready(1)
            for chap, others in (
                (self.ONE, [None, self.TWO, self.BOX]),
                (self.TWO, [None, self.ONE, self.BOX]),
                (self.BOX, [None, self.ONE, self.TWO]),
            ):
                tgtd.driver.apply_node(replace(spec, chap=chap))
                assert tgtd.management.request(Mode.ACCOUNT, Op.SHOW).split() == ["Account", "list:", chap.user]
                assert self.login(tgtd, spec, chap)
                assert not any(self.login(tgtd, spec, other) for other in others)
            tgtd.driver.apply_node(spec)
            assert self.login(tgtd, spec, None)
            assert initiator.write(1, 0, bytes(512)) == GOOD

    def test_two_nodes_share_a_name_with_one_secret_until_one_changes(
        self, tgtd: Any, node: Callable[..., NodeSpec]
    ) -> None:
        first = node(chap=self.ONE)
        second = replace(first, tid=9, iqn="iqn.2026-11.org.qreplica:test.other")
        tgtd.driver.apply_node(first)
        tgtd.driver.apply_node(second)
        tgtd.open()
        tgtd.driver.apply_node(replace(first, chap=self.BOX))
        assert self.login(tgtd, second, self.ONE)
        assert self.login(tgtd, first, self.BOX)
        assert not self.login(tgtd, first, self.ONE)

    def test_accounts_go_with_their_nodes(self, tgtd: Any, node: Callable[..., NodeSpec]) -> None:
        tgtd.driver.apply_node(node(chap=self.ONE, mutual_chap=self.BOX))
        assert "host" in tgtd.management.request(Mode.ACCOUNT, Op.SHOW)
        tgtd.driver.remove_node(node().iqn)
        assert tgtd.management.request(Mode.ACCOUNT, Op.SHOW) == ""

    def test_no_secret_in_any_output(self, tgtd: Any, node: Callable[..., NodeSpec]) -> None:
        tgtd.driver.apply_node(node(chap=self.ONE))
        tgtd.driver.apply_node(node(chap=self.TWO, mutual_chap=self.BOX))
        tgtd.process.kill()
        assert tgtd.lines
        assert not [line for line in tgtd.lines if "secret" in line]


def test_a_node_that_admits_nobody_is_not_discovered(tgtd: Any, spec: NodeSpec) -> None:
    assert spec.iqn in tgtd.discover(HOST)
    assert spec.iqn not in tgtd.discover(f"{HOST}2")
    tgtd.driver.apply_node(replace(spec, initiators=frozenset()))
    assert spec.iqn not in tgtd.discover(HOST)


def test_the_tuned_parameters_are_offered(tgtd: Any, spec: NodeSpec) -> None:
    text = tgtd.management.request(Mode.TARGET, Op.SHOW, tid=spec.tid)
    shown = dict(line.split("=", 1) for line in text.splitlines())
    assert shown["MaxRecvDataSegmentLength"] == shown["MaxXmitDataSegmentLength"] == "1048576"
    assert (shown["MaxBurstLength"], shown["FirstBurstLength"]) == ("16776192", "1048576")
    assert (shown["InitialR2T"], shown["ImmediateData"], shown["MaxOutstandingR2T"]) == ("No", "Yes", "16")
    assert (shown["nop_interval"], shown["nop_count"]) == ("30", "10")


def test_a_dead_initiator_loses_its_session(
    tgtd: Any, node: Callable[..., NodeSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours never answers a NOP-In, like one whose machine lost its power."""
    monkeypatch.setitem(tgt_module.SESSION_PARAMETERS, "nop_interval", "1")
    monkeypatch.setitem(tgt_module.SESSION_PARAMETERS, "nop_count", "1")
    spec = node()
    tgtd.driver.apply_node(spec)
    tgtd.open()
    with logged_in(tgtd, spec):
        assert len(tgtd.driver.sessions(spec.iqn)) == 1
        deadline = time.monotonic() + 20
        while tgtd.driver.sessions(spec.iqn):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_tgtd_started_anew_is_configured_anew(tgtd: Any, node: Callable[..., NodeSpec]) -> None:
    spec = node(chap=Credentials("host", "first-secret-1"))
    tgtd.driver.apply_node(spec)
    tgtd.process.kill()
    tgtd.process.start()
    assert tgtd.driver.nodes() == {}
    with pytest.raises(NodeMissing):
        tgtd.driver.sessions(spec.iqn)
    tgtd.driver.apply_node(spec)
    tgtd.open()
    assert tgtd.inquire(tgtd.url(spec.iqn, credentials="host%first-secret-1@"), HOST).returncode == 0
    assert tgtd.inquire(tgtd.url(spec.iqn), HOST).returncode != 0


def test_a_node_of_which_nothing_is_known_is_made_anew(tgtd: Any, spec: NodeSpec) -> None:
    with logged_in(tgtd, spec):
        anew = TgtDriver(tgtd.management)
        anew.apply_node(replace(spec, initiators=frozenset({f"{HOST}2"})))
        assert anew.sessions(spec.iqn) == []
    assert tgtd.inquire(tgtd.url(spec.iqn), HOST).returncode != 0
    assert tgtd.inquire(tgtd.url(spec.iqn), f"{HOST}2").returncode == 0


SAME, OTHER = 0x0ABC_DE01, 77


@pytest.mark.parametrize(
    ("number", "lost"),
    [
        (OTHER, (Mode.TARGET, Op.NEW)),
        (OTHER, (Mode.TARGET, Op.DELETE)),
        (OTHER, (Mode.LUN, Op.NEW)),
        (SAME, (Mode.TARGET, Op.BIND)),
        (SAME, (Mode.LUN, Op.NEW)),
        (SAME, (Mode.LUN, Op.UPDATE)),
        (SAME, (Mode.LUN, Op.DELETE)),
        (SAME, (Mode.ACCOUNT, Op.NEW)),
        (SAME, (Mode.ACCOUNT, Op.BIND)),
    ],
)
def test_a_change_of_unknown_outcome_is_made_good(
    tgtd: Any, spec: NodeSpec, monkeypatch: pytest.MonkeyPatch, lost: tuple[Mode, Op], number: int
) -> None:
    """tgtd did what it was asked and its answer got lost: whatever that was, the next change makes all right."""
    real = tgtd.management.request

    def lose(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        answer = real(mode, op, *arguments, **more)
        if (mode, op) == lost:
            raise TargetDaemonSilent(control_port=0, action="", seconds=0)
        return answer

    chap = Credentials("host", "secret-1")
    second, third = (replace(spec.luns[0], number=number) for number in (2, 3))
    wanted = replace(spec, tid=number, initiators=frozenset({f"{HOST}2"}), luns=(second,), chap=chap)
    monkeypatch.setattr(tgtd.management, "request", lose)
    with pytest.raises(TargetDaemonSilent):
        tgtd.driver.apply_node(wanted)
    monkeypatch.undo()
    tgtd.driver.apply_node(replace(spec, luns=(third,)))
    assert tgtd.inquire(tgtd.url(spec.iqn, 3), HOST).returncode == 0
    assert tgtd.inquire(tgtd.url(spec.iqn, 3), f"{HOST}2").returncode != 0


def test_nobody_gets_in_without_chap_while_it_changes(
    tgtd: Any, node: Callable[..., NodeSpec], login_refused: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the old account and the new one tgtd would ask for none: after each step an initiator tries."""
    spec = node(chap=Credentials("host", "first-secret-1"))
    tgtd.driver.apply_node(spec)
    tgtd.open()
    real = tgtd.management.request
    steps = []

    def step(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        answer = real(mode, op, *arguments, **more)
        steps.append((mode, op))
        with pytest.raises(login_refused), tgtd.initiator(spec.iqn, HOST) as initiator:
            initiator.log_in()
        return answer

    monkeypatch.setattr(tgtd.management, "request", step)
    tgtd.driver.apply_node(replace(spec, chap=Credentials("host", "other-secret-2")))
    assert {(Mode.ACCOUNT, Op.UNBIND), (Mode.ACCOUNT, Op.BIND)} <= set(steps)


def test_a_portal_that_cannot_be_does_not_keep_the_others_away(tgtd: Any) -> None:
    usable = tgtd.portal
    for unusable in (PortalSpec("192.0.2.1", 3260), PortalSpec("port four", 3260)):
        tgtd.driver.set_portals(frozenset({usable}))
        with pytest.raises(PortalUnusable, match=unusable.address):
            tgtd.driver.set_portals(frozenset({usable, unusable}))
        assert tgtd.driver.portals() == {usable}


def test_a_session_ends_with_its_portal(tgtd: Any, spec: NodeSpec) -> None:
    with logged_in(tgtd, spec) as initiator:
        initiator.test_unit_ready(1)
        tgtd.driver.set_portals(frozenset())
        with pytest.raises(OSError, match=r"ended the connection|reset|Broken pipe"):
            initiator.write(1, 0, bytes(512))
        with pytest.raises(ConnectionRefusedError):
            tgtd.initiator(spec.iqn, HOST)


def test_its_connections_are_found_without_a_connection_to_it(tgtd: Any, spec: NodeSpec) -> None:
    # One that ends without a request keeps a busy tgtd busy for ever.
    def sockets() -> int:
        return Path("/proc/net/unix").read_text().count(str(tgtd.management.socket_path))

    with logged_in(tgtd, spec):
        os.kill(tgtd.process.pid, signal.SIGSTOP)  # so that all who come stay
        try:
            before = sockets()
            assert len(tgtd.driver.connections()) == 1
            assert sockets() == before >= 1
        finally:
            os.kill(tgtd.process.pid, signal.SIGCONT)
