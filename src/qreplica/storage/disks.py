"""Disks: block devices, and image files on loop devices."""

import os
import stat
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import PathInvalid, check_name, check_path
from qreplica.state.database import Database
from qreplica.state.models import Disk
from qreplica.storage import loop_devices
from qreplica.storage.block_devices import size_of
from qreplica.storage.capacity import MINIMUM_DISK
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import DiskTooSmall
from qreplica.storage.service_errors import (
    DiskAlreadyAdded,
    DiskImageMissing,
    DiskOfGroup,
    DiskSourceInvalid,
    NameTaken,
)
from qreplica.units import format_size


def add(
    db: Database, *, name: str, device: str | None = None, image: str | None = None, size: int | None = None
) -> Disk:
    """Make a disk known: a block ``device``, or an ``image`` file, made sparse with ``size`` bytes when it is new.

    Raises NotAName, PathInvalid, DiskSourceInvalid, NameTaken, DiskAlreadyAdded, DiskTooSmall; then nothing was made.
    """
    check_name(name, "disk")
    with db.session(read_only=True) as session:
        _refuse_taken(session, name)
    if device is not None and image is None:
        if size is not None:
            raise DiskSourceInvalid(disk=name, reason="a device has its own size")
        return _add_device(db, name, _block_device(device))
    if image is not None and device is None:
        return _add_image(db, name, check_path(image), size)
    raise DiskSourceInvalid(disk=name, reason="it needs either a device or an image")


def _block_device(device: str) -> Path:
    path = check_path(device)
    if not path.is_block_device():
        raise PathInvalid(path=device, reason="it is no block device")
    return path


def _add_device(db: Database, name: str, path: Path) -> Disk:
    size = size_of(path)
    _refuse_small(name, size)
    with db.session() as session:
        _refuse_taken(session, name)
        _refuse_known(session, path)
        disk = Disk(name=name, device=str(path), image=None, size=size)
        session.add(disk)
    return disk


def _add_image(db: Database, name: str, path: Path, size: int | None) -> Disk:
    made = not path.exists()
    if made:
        _make_image(name, path, size)
    try:
        size = _image_size(name, path, size)
        with db.session() as session:
            _refuse_taken(session, name)
            _refuse_known(session, path)
            disk = Disk(name=name, device=None, image=str(path), size=size)
            session.add(disk)
            session.flush()
            # Within the transaction, so that nobody can remove the disk meanwhile; it takes milliseconds.
            disk.device = str(loop_devices.attach(path))
    except BaseException:
        if made:
            loop_devices.detach(path)
            path.unlink(missing_ok=True)
        raise
    return disk


def _make_image(name: str, path: Path, size: int | None) -> None:
    if size is None:
        raise DiskSourceInvalid(disk=name, reason=f"{path} does not exist and no size was given")
    _refuse_small(name, size)
    if size % BLOCK:
        raise DiskSourceInvalid(disk=name, reason=f"its size is no multiple of {BLOCK} bytes")
    if not path.parent.is_dir():
        raise PathInvalid(path=path, reason=f"there is no directory {path.parent}")
    try:
        with path.open("xb") as file:
            file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PathInvalid(path=path, reason=f"it cannot be made ({error.strerror})") from error


def _image_size(name: str, path: Path, size: int | None) -> int:
    if not path.is_file():
        raise PathInvalid(path=path, reason="it is no regular file")
    present = path.stat().st_size
    if size is not None and size != present:
        raise DiskSourceInvalid(disk=name, reason=f"{path} exists with {format_size(present)}")
    _refuse_small(name, present)
    return present


def _refuse_small(name: str, size: int) -> None:
    if size < MINIMUM_DISK:
        raise DiskTooSmall(disk=name, size=size, minimum=MINIMUM_DISK)


def _refuse_taken(session: Session, name: str) -> None:
    if session.scalar(select(Disk).where(Disk.name == name)):
        raise NameTaken(what="disk", name=name)


def _refuse_known(session: Session, path: Path) -> None:
    """Raise DiskAlreadyAdded when ``path`` is a disk already, by whatever name: links, and images' loop devices."""
    for disk in session.scalars(select(Disk)):
        for known in (disk.device, disk.image):
            if known is not None and _same(Path(known), path):
                raise DiskAlreadyAdded(source=path, disk=disk.name)


def _same(one: Path, other: Path) -> bool:
    try:
        facts, others = one.stat(), other.stat()
    except OSError:
        return one == other
    if stat.S_ISBLK(facts.st_mode) and stat.S_ISBLK(others.st_mode):
        return facts.st_rdev == others.st_rdev
    return os.path.samestat(facts, others)


def remove(db: Database, name: str) -> None:
    """Forget a free disk; an image file stays. Raises NotFound, DiskOfGroup."""
    with db.session() as session:
        disk = get(session, name)
        if disk.raid_group is not None:
            raise DiskOfGroup(disk=name, group=disk.raid_group.name)
        if disk.image is not None and Path(disk.image).exists():
            loop_devices.detach(Path(disk.image))
        session.delete(disk)


def get(session: Session, name: str) -> Disk:
    """Return the disk. Raises NotFound."""
    disk = session.scalar(select(Disk).where(Disk.name == name))
    if disk is None:
        raise NotFound(what="disk", name=name, noun="disk")
    return disk


def listing(session: Session) -> list[Disk]:
    """Return all disks by name."""
    return list(session.scalars(select(Disk).order_by(Disk.name)))


def attach_images(db: Database) -> dict[str, QReplicaError]:
    """Give every image its loop device (after a restart of the machine) and note which one it is; idempotent.

    Returns, by disk, why that was not possible; such a disk is missing from its RG.
    """
    with db.session(read_only=True) as session:
        images = {disk.name: Path(disk.image) for disk in listing(session) if disk.image is not None}
    devices: dict[str, str] = {}
    failures: dict[str, QReplicaError] = {}
    for name, image in images.items():
        try:
            if not image.is_file():
                raise DiskImageMissing(disk=name, image=image)
            devices[name] = str(loop_devices.attach(image))
        except QReplicaError as error:
            failures[name] = error
    with db.session() as session:
        for disk in listing(session):
            if disk.image is not None:
                disk.device = devices.get(disk.name)
    return failures


def attach_returned(db: Database) -> None:
    """Give images that are there again the loop devices that they lack; idempotent. Raises StorageCommandFailed."""
    with db.session(read_only=True) as session:
        without = select(Disk).where(Disk.image.is_not(None), Disk.device.is_(None))
        images = {disk.id: Path(disk.image) for disk in session.scalars(without) if disk.image is not None}
    devices = {disk_id: str(loop_devices.attach(image)) for disk_id, image in images.items() if image.is_file()}
    if devices:
        with db.session() as session:
            for disk in session.scalars(select(Disk).where(Disk.id.in_(devices))):
                disk.device = devices[disk.id]


def device_path(disk: Disk) -> Path:
    """Return the block device; for an image whose file is gone, a path that does not exist."""
    return Path(disk.device or "/dev/qreplica-missing")
