"""Every call, against a real tgtd, compared with the file behind the LUN."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qreplica.iscsi.errors import (
    CommandFailed,
    LunMissing,
    LunReplaced,
    Misaligned,
    OutOfRange,
    QueueFull,
    ReservationConflict,
    SessionLost,
    TransferTooLong,
    WriteProtected,
)
from qreplica.iscsi.initiator import DEPTH, Buffer, Capacity, FoundNode, Inquiry, Session, discover
from qreplica.units import GIB, KIB, MIB

pytestmark = pytest.mark.root

IQN = "iqn.2024-05.com.example:backup"
INITIATOR = "iqn.2024-05.com.example:initiator"
SIZE = 64 * MIB
BLOCK = 512


def drain(session: Session) -> dict[int, object]:
    ended: dict[int, object] = {}
    while session.in_flight:
        for completion in session.poll(10.0):
            assert completion.tag not in ended
            ended[completion.tag] = completion.error
    return ended


def test_a_disk_says_who_it_is(session: Session) -> None:
    assert session.inquiry(1) == Inquiry("QREPLICA", "VIRTUAL-DISK", "0001")
    assert session.serial(1) == "SN0001"
    assert {designator.kind for designator in session.identification(1)} == {1, 3}
    assert session.capacity(1) == Capacity(SIZE // BLOCK, BLOCK, thin=True)
    assert session.capacity(1).size == SIZE
    assert session.provisioning(1).write_same_16
    assert session.block_limits(1).unmap > 0
    assert session.report_luns() == [0, 1]
    assert session.header_digest
    session.ping()
    assert IQN in repr(session)


def test_bytes_arrive_in_the_file_and_come_back(session: Session, target: Any) -> None:
    data = os.urandom(3 * MIB + 5 * BLOCK)
    session.write(1, 7 * BLOCK, data)
    session.flush(1)
    assert target.file.read_bytes()[7 * BLOCK : 7 * BLOCK + len(data)] == data
    assert session.read(1, 7 * BLOCK, len(data)) == data
    assert session.read(1, 0, 0) == b""
    session.write(1, 0, b"")


def test_zeros_are_zeros_and_give_their_space_back(session: Session, target: Any) -> None:
    session.write(1, 0, b"x" * (4 * MIB))
    session.flush(1)
    before = target.file.stat().st_blocks
    session.write_zeros(1, MIB, 2 * MIB)
    session.write_zeros(1, 0, 0)
    session.flush(1)
    data = target.file.read_bytes()
    assert data[: 4 * MIB] == b"x" * MIB + bytes(2 * MIB) + b"x" * MIB
    assert before - target.file.stat().st_blocks == 2 * MIB // 512


def test_unmapped_ranges_read_as_zeros_from_tgtd(session: Session) -> None:
    session.write(1, 0, b"x" * (64 * KIB))
    session.unmap(1, [(4 * KIB, 4 * KIB), (32 * KIB, 8 * KIB)])
    session.unmap(1, [])
    wanted = bytearray(b"x" * (64 * KIB))
    wanted[4 * KIB : 8 * KIB] = bytes(4 * KIB)
    wanted[32 * KIB : 40 * KIB] = bytes(8 * KIB)
    assert session.read(1, 0, 64 * KIB) == bytes(wanted)


def test_a_lun_of_4096_byte_blocks(target: Any, tmp_path: Path) -> None:
    file = tmp_path / "large-blocks"
    with file.open("wb") as disk:
        disk.truncate(16 * MIB)
    target.tgtd.add_lun(1, 2, file, "--blocksize", "4096")
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        assert session.capacity(2) == Capacity(4096, 4096, thin=True)
        session.write(2, 8192, b"y" * 4096)
        session.write_zeros(2, 0, 4096)
        assert session.read(2, 4096, 8192) == bytes(4096) + b"y" * 4096
        with pytest.raises(Misaligned, match="4096"):
            session.read(2, 512, 4096)


def test_zeros_beyond_a_gib_go_in_several_commands(target: Any, tmp_path: Path) -> None:
    file = tmp_path / "big"
    with file.open("wb") as disk:
        disk.truncate(3 * GIB)
        disk.write(b"a")
        disk.seek(GIB)
        disk.write(b"b")
        disk.seek(3 * GIB - 1)
        disk.write(b"c")
    target.tgtd.add_lun(1, 2, file)
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        assert session.most_zeros(2) == GIB
        with pytest.raises(TransferTooLong, match="1 GiB"):
            session.submit_zeros(1, 2, 0, GIB + BLOCK)
        session.write_zeros(2, 0, 3 * GIB)
    assert file.stat().st_blocks == 0


def test_a_range_beyond_the_end_or_within_blocks_is_refused_before_anything_is_sent(session: Session) -> None:
    buffer = Buffer(MIB)
    session.write(1, SIZE - BLOCK, b"e" * BLOCK)
    calls: list[Callable[[int, int], object]] = [
        lambda offset, length: session.read(1, offset, length),
        lambda offset, length: session.write(1, offset, bytes(length)),
        lambda offset, length: session.write_zeros(1, offset, length),
        lambda offset, length: session.unmap(1, [(0, BLOCK), (offset, length)]),
        lambda offset, length: session.submit_read(1, 1, offset, buffer, length),
        lambda offset, length: session.submit_write(1, 1, offset, buffer, length),
        lambda offset, length: session.submit_zeros(1, 1, offset, length),
    ]
    for call in calls:
        for offset, length in ((SIZE, BLOCK), (SIZE - BLOCK, 2 * BLOCK), (-BLOCK, BLOCK)):
            with pytest.raises(OutOfRange, match="64 MiB"):
                call(offset, length)
        for offset, length in ((1, BLOCK), (0, BLOCK - 1)):
            with pytest.raises(Misaligned, match="512"):
                call(offset, length)
    assert session.in_flight == 0
    assert session.read(1, SIZE - BLOCK, BLOCK) == b"e" * BLOCK


def test_a_lun_that_is_not_there(session: Session) -> None:
    for call in (session.inquiry, session.capacity, session.serial):
        with pytest.raises(LunMissing, match="has no LUN 9"):
            call(9)
    with pytest.raises(LunMissing):
        session.submit_flush(1, 9)
    assert session.in_flight == 0


def test_a_command_that_the_target_does_not_know_is_told_in_words(session: Session) -> None:
    with pytest.raises(CommandFailed, match=r"READ CAPACITY on LUN 0 .*illegal request: unknown command") as caught:
        session.capacity(0)
    assert (caught.value.sense_key, caught.value.asc_ascq) == (5, 0x2000)


def test_a_read_only_lun_takes_no_writes(target: Any) -> None:
    target.tgtd.add_lun(1, 2, target.file, params=",readonly=1")
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        with pytest.raises(WriteProtected, match="read-only"):
            session.write(2, 0, b"x" * BLOCK)
        buffer = Buffer(MIB)
        for tag in range(16):
            session.submit_write(tag, 2, tag * MIB, buffer, MIB)
        ended = drain(session)
        assert len(ended) == 16
        assert all(isinstance(error, WriteProtected) for error in ended.values())
        assert session.read(2, 0, BLOCK) == bytes(BLOCK)


def test_another_hosts_reservation_bars_writes(session: Session, target: Any) -> None:
    with Session.connect(target.portal, IQN, INITIATOR + "-2") as other:
        other.capacity(1)
        register = bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0])
        reserve = bytes([0x5F, 1, 5, 0, 0, 0, 0, 0, 24, 0])  # write exclusive, registrants only
        persistent_reserve_out(other, register, bytes(8) + b"key-key1" + bytes(8))
        persistent_reserve_out(other, reserve, b"key-key1" + bytes(16))
        with pytest.raises(ReservationConflict, match="another host's reservation"):
            session.write(1, 0, b"x" * BLOCK)
        session.submit_write(5, 1, 0, Buffer(BLOCK), BLOCK)
        assert isinstance(drain(session)[5], ReservationConflict)
    session.read(1, 0, BLOCK)


def persistent_reserve_out(session: Session, cdb: bytes, parameters: bytes) -> None:
    from qreplica.iscsi.initiator._libiscsi import ffi, lib  # noqa: PLC0415 - needed by this test only

    session._calls.execute(
        "PERSISTENT RESERVE OUT", 1, cdb, lib.SCSI_XFER_WRITE, ffi.from_buffer("unsigned char[]", parameters)
    )


def test_discovery_lists_the_nodes_that_admit_us(target: Any) -> None:
    other = "iqn.2024-05.com.example:other"
    target.tgtd.add_node(2, other)
    target.tgtd.add_node(3, "iqn.2024-05.com.example:closed", admit="iqn.2024-05.com.example:somebody")
    found = discover(target.portal, INITIATOR)
    assert sorted(found, key=lambda node: node.iqn) == [
        FoundNode(IQN, (target.portal,)),
        FoundNode(other, (target.portal,)),
    ]


def test_every_submitted_command_completes_once(session: Session, target: Any) -> None:
    buffers = [Buffer(256 * KIB) for _ in range(DEPTH)]
    for tag, buffer in enumerate(buffers):
        buffer.view[:] = bytes([tag + 1]) * len(buffer.view)
        session.submit_write(tag, 1, tag * 256 * KIB, buffer, 256 * KIB)
    assert session.in_flight == DEPTH
    with pytest.raises(QueueFull, match=str(DEPTH)):
        session.submit_flush(DEPTH, 1)
    assert session.in_flight == DEPTH
    assert drain(session) == dict.fromkeys(range(DEPTH))
    session.submit_zeros(1, 1, 0, 256 * KIB)
    session.submit_flush(2, 1)
    assert drain(session) == {1: None, 2: None}
    data = target.file.read_bytes()
    for tag in range(DEPTH):
        part = data[tag * 256 * KIB : (tag + 1) * 256 * KIB]
        assert part == bytes([tag + 1 if tag else 0]) * (256 * KIB)
    for tag, buffer in enumerate(buffers):
        session.submit_read(tag, 1, tag * 256 * KIB, buffer, 128 * KIB, start=64 * KIB)
    assert drain(session) == dict.fromkeys(range(DEPTH))
    assert buffers[0].view[64 * KIB] == 0
    assert buffers[0].view[0] == 1
    assert all(buffer.view[100 * KIB] == tag + 1 for tag, buffer in enumerate(buffers) if tag)


def test_whole_calls_work_while_commands_are_in_flight(session: Session) -> None:
    buffer = Buffer(256 * KIB)
    for tag in range(DEPTH):
        session.submit_write(tag, 1, 0, buffer, 256 * KIB)
    session.write(1, MIB, b"w" * BLOCK)
    session.ping()
    assert session.read(1, MIB, BLOCK) == b"w" * BLOCK
    assert drain(session) == dict.fromkeys(range(DEPTH))
    assert session.poll(0.0) == []


def test_wrong_tags_and_buffers_are_refused(session: Session) -> None:
    buffer = Buffer(4 * KIB)
    session.submit_write(7, 1, 0, buffer, 4 * KIB)
    for tag in (7, -1, 1 << 63):
        with pytest.raises(ValueError, match="tag"):
            session.submit_write(tag, 1, 0, buffer, 4 * KIB)
    for length, start in ((8 * KIB, 0), (4 * KIB, BLOCK), (BLOCK, -BLOCK), (0, 0)):
        with pytest.raises(ValueError, match="not within"):
            session.submit_write(8, 1, 0, buffer, length, start)
    with pytest.raises(TransferTooLong):
        session.submit_write(9, 1, 0, buffer, 32 * MIB)
    assert drain(session) == {7: None}


def test_after_logout_every_call_says_so(target: Any) -> None:
    session = Session.connect(target.portal, IQN, INITIATOR)
    session.submit_write(1, 1, 0, Buffer(BLOCK), BLOCK)
    session.logout()
    session.logout()
    for call in (session.ping, lambda: session.read(1, 0, BLOCK), lambda: session.poll(1.0)):
        with pytest.raises(SessionLost, match="closed here"):
            call()


def test_a_target_with_default_parameters_gets_the_same_bytes(target: Any) -> None:
    plain = "iqn.2024-05.com.example:plain"
    target.tgtd.admin("--mode", "target", "--op", "new", "--tid", "5", "-T", plain)
    target.tgtd.admin("--mode", "target", "--op", "bind", "--tid", "5", "-I", "ALL")
    target.tgtd.add_lun(5, 1, target.file)
    data = os.urandom(8 * MIB)
    with Session.connect(target.portal, plain, INITIATOR) as session:
        buffers = [Buffer(MIB) for _ in range(8)]
        for tag, buffer in enumerate(buffers):
            buffer.view[:] = data[tag * MIB : (tag + 1) * MIB]
            session.submit_write(tag, 1, tag * MIB, buffer, MIB)
        assert drain(session) == dict.fromkeys(range(8))
        assert session.read(1, 0, len(data)) == data
    assert target.file.read_bytes()[: len(data)] == data


def submit_and_poll(session: Session) -> object:
    session.submit_write(1, 1, 0, Buffer(BLOCK), BLOCK)
    return drain(session)[1]


def test_changes_of_other_luns_do_not_disturb(session: Session, target: Any) -> None:
    assert submit_and_poll(session) is None
    target.tgtd.add_lun(1, 2, target.file)
    assert submit_and_poll(session) is None
    target.tgtd.remove_lun(1, 2)
    session.flush(1)
    target.tgtd.add_lun(1, 2, target.file)
    assert session.capacity(1).size == SIZE
    assert session.report_luns() == [0, 1, 2]


def test_another_disk_under_the_same_lun_is_not_written_to(session: Session, target: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with other.open("wb") as disk:
        disk.truncate(SIZE)
    session.write(1, 0, b"mine" * 128)
    session.verify(1)
    target.tgtd.remove_lun(1, 1)
    assert isinstance(submit_and_poll(session), LunMissing)
    target.tgtd.add_lun(1, 1, other, params=",scsi_sn=SN0002")
    calls: list[Callable[[int], object]] = [session.verify, session.flush, session.capacity]
    for call in calls:
        with pytest.raises(LunReplaced, match="another disk"):
            call(1)
    target.tgtd.add_lun(1, 2, target.file)
    assert isinstance(submit_and_poll(session), LunReplaced)
    target.tgtd.remove_lun(1, 2)
    with pytest.raises(LunReplaced, match="another disk"):
        session.write(1, 0, b"x" * BLOCK)
    assert other.read_bytes() == bytes(SIZE)


_ranges = st.tuples(st.integers(0, 255), st.integers(1, 64)).map(
    lambda r: (r[0] * BLOCK, min(r[1], 256 - r[0]) * BLOCK)
)
_steps = st.tuples(
    st.sampled_from(["write", "zeros", "unmap", "read", "submit", "flush"]), _ranges, st.integers(1, 255)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_steps, max_size=25))
def test_any_course_of_calls_leaves_what_a_bytearray_would_hold(
    session: Session, target: Any, steps: list[Any]
) -> None:
    whole = 256 * BLOCK
    session.write_zeros(1, 0, whole)
    model = bytearray(whole)
    buffer = Buffer(whole)
    for action, (offset, length), value in steps:
        data = bytes([value]) * length
        if action == "write":
            session.write(1, offset, data)
        elif action == "submit":
            buffer.view[:length] = data
            session.submit_write(value, 1, offset, buffer, length)
            assert drain(session) == {value: None}
        elif action == "zeros":
            session.write_zeros(1, offset, length)
            data = bytes(length)
        elif action == "unmap":
            session.unmap(1, [(offset, length)])
            data = bytes(length)
        elif action == "read":
            assert session.read(1, offset, length) == model[offset : offset + length]
            continue
        else:
            session.flush(1)
            continue
        model[offset : offset + length] = data
    assert session.read(1, 0, whole) == model
    assert target.file.read_bytes()[:whole] == model
