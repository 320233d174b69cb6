"""What an iSCSI disk of another maker is, and whether a job may replicate to it. Only reads."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import CommandFailed
from qreplica.iscsi.initiator import Designator, Session, is_zero
from qreplica.iscsi.initiator.reservations import Standing
from qreplica.iscsi.initiator.sense import ILLEGAL_REQUEST
from qreplica.iscsi.nodes import VENDOR
from qreplica.replication import plain_keys
from qreplica.replication.plain_errors import (
    PlainTargetIsOurs,
    PlainTargetNotEmpty,
    PlainTargetReserved,
    PlainTargetTooSmall,
    PlainTargetUnfit,
)
from qreplica.storage.block_devices import signature
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

#: Kinds of designators (SPC-4, 7.8.6.1) that name one disk in the world, the surest first, and how they are written.
_WORLDWIDE = {3: "naa", 2: "eui", 8: "name", 1: "t10"}
_OF_THE_DISK = 0
_READ_TO_LOOK = MIB


@dataclass(frozen=True, slots=True)
class Place:
    """Where the disk is, for sentences."""

    address: str
    node: str
    lun: int


@dataclass(frozen=True, slots=True)
class Disk:
    """What the disk says of itself: identity, who made it, sizes in bytes.

    ``fenced`` tells whether it has the reservations that keep former owners off; ``through_power_loss`` whether they
    outlive its power. ``standing`` is who has registered, None without reservations.
    """

    identity: str
    maker: str
    size: int
    block_size: int
    fenced: bool
    through_power_loss: bool
    standing: Standing | None


def identity_of(designators: Iterable[Designator]) -> str | None:
    """Return what names the disk in VPD page 0x83, the same by whatever port it was asked; None when nothing does.

    Of several the one of the surest kind, and of that the longest: an NAA of 16 bytes is unique where one of 8 may not
    be.
    """
    order = list(_WORLDWIDE)
    found = [one for one in designators if one.association == _OF_THE_DISK and one.kind in order and one.text]
    if not found:
        return None
    best = min(found, key=lambda one: (order.index(one.kind), -len(one.text), one.text))
    return f"{_WORLDWIDE[best.kind]}.{'_'.join(best.text.split())}"


def look(session: Session, place: Place) -> Disk:
    """Ask the disk who it is and what it can. Raises PlainTargetIsOurs, PlainTargetUnfit, and what ``Session`` does."""
    inquiry = session.inquiry(place.lun)
    if inquiry.vendor == VENDOR:
        raise PlainTargetIsOurs(**_facts(place), why=f"its vendor is {VENDOR}")
    if inquiry.device_type != 0:
        reason = f"it is no disk (device type 0x{inquiry.device_type:02x})"
        raise PlainTargetUnfit(**_facts(place), reason=reason, remedy="choose the LUN of a disk")
    capacity = session.capacity(place.lun)
    identity = identity_of(session.identification(place.lun))
    if identity is None:
        reason = "it does not say which disk it is (VPD page 0x83)"
        raise PlainTargetUnfit(**_facts(place), reason=reason, remedy="choose a disk that does")
    there = session.reservations(place.lun)
    capabilities = there.capabilities()
    fenced = capabilities is not None and capabilities.registrants_only
    return Disk(
        identity,
        f"{inquiry.vendor} {inquiry.product}".strip() or "maker unknown",
        capacity.size,
        capacity.block_size,
        fenced,
        capabilities is not None and capabilities.through_power_loss,
        there.standing() if fenced else None,
    )


def _write_protected(session: Session, lun: int) -> bool:
    """Tell so; of a disk that has no mode pages only a write will tell."""
    try:
        return session.is_write_protected(lun)
    except CommandFailed as error:
        if error.sense_key != ILLEGAL_REQUEST:
            raise
        return False


def check(session: Session, disk: Disk, place: Place, needed: int) -> None:
    """Raise unless the disk can hold a source VD of ``needed`` bytes and nobody else has it.

    Raises PlainTargetTooSmall, PlainTargetUnfit, PlainTargetReserved.
    """
    _refuse_reserved(disk, place)
    facts = _facts(place)
    error: QReplicaError | None = None
    if disk.size < needed:
        error = PlainTargetTooSmall(disk=disk.identity, lun=place.lun, node=place.node, found=disk.size, needed=needed)
    elif disk.block_size > BLOCK or BLOCK % disk.block_size or needed % disk.block_size:
        reason = f"its blocks of {disk.block_size} bytes do not fit a source VD's, which are of {BLOCK}"
        error = PlainTargetUnfit(**facts, reason=reason, remedy="choose a disk with blocks of 512 or 4096 bytes")
    elif _write_protected(session, place.lun):
        error = PlainTargetUnfit(**facts, reason="it is write protected", remedy="make it writable there")
    if error is not None:
        raise error


def _refuse_reserved(disk: Disk, place: Place) -> None:
    """Raise PlainTargetReserved when anybody has registered or reserved; what is asked then would only conflict."""
    if disk.standing is not None:
        keys = {*disk.standing.keys, *([disk.standing.holder.key] if disk.standing.holder else [])}
        if keys:
            told = ", ".join(plain_keys.show(key) for key in sorted(keys))
            raise PlainTargetReserved(disk=disk.identity, lun=place.lun, node=place.node, key=told)


def check_empty(session: Session, disk: Disk, place: Place, confirmed: str | None) -> None:
    """Raise PlainTargetNotEmpty when the disk holds something, unless its identity was given to confirm the loss."""
    content = None if confirmed == disk.identity else _content(session, disk, place.lun)
    if content is not None:
        raise PlainTargetNotEmpty(disk=disk.identity, lun=place.lun, node=place.node, content=content)


def _content(session: Session, disk: Disk, lun: int) -> str | None:
    """Return what its first and last MiB show, None when that is nothing but zeros."""
    length = min(_READ_TO_LOOK, disk.size)
    first, last = session.read(lun, 0, length), session.read(lun, disk.size - length, length)
    if is_zero(first) and is_zero(last):
        return None
    found = _signature(first, last, disk.size)
    named = [found[name] for name in ("PTTYPE", "TYPE", "LABEL") if name in found]
    return f"it has {', '.join(named)}" if named else "its first or last MiB is not all zeros"


def _signature(first: bytes, last: bytes, size: int) -> dict[str, str]:
    """Return what blkid(8) makes of a disk of that size of which only the two ends were read."""
    memory = os.memfd_create("plain-target", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, size)
        os.pwrite(memory, first, 0)
        os.pwrite(memory, last, size - len(last))
        return signature(Path(f"/proc/{os.getpid()}/fd/{memory}"))
    finally:
        os.close(memory)


def _facts(place: Place) -> dict[str, object]:
    return {"lun": place.lun, "node": place.node, "address": place.address}
