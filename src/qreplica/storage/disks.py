"""Disks: block devices, and image files on loop devices."""

import stat
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound
from qreplica.names import PathInvalid, check_name, check_path
from qreplica.state.database import Database
from qreplica.state.models import Disk
from qreplica.storage import loop_devices
from qreplica.storage.block_devices import size_of
from qreplica.storage.capacity import MINIMUM_DISK
from qreplica.storage.errors import DiskTooSmall
from qreplica.storage.service_errors import DiskAlreadyAdded, DiskOfGroup, DiskSourceInvalid, NameTaken


def add(
    db: Database, *, name: str, device: str | None = None, image: str | None = None, size: int | None = None
) -> Disk:
    """Make a disk known: a block ``device``, or an ``image`` file, made sparse with ``size`` bytes when it is new.

    Raises NotAName, PathInvalid, DiskSourceInvalid, NameTaken, DiskAlreadyAdded, DiskTooSmall; then nothing was made.
    """
    check_name(name, "disk")
    with db.session(read_only=True) as session:
        _refuse_taken(session, name, device, image)
    if (device is None) == (image is None):
        raise DiskSourceInvalid(disk=name, reason="it needs either a device or an image")
    if device is not None:
        if size is not None:
            raise DiskSourceInvalid(disk=name, reason="a device has its own size")
        path = check_path(device)
        if not path.exists() or not stat.S_ISBLK(path.stat().st_mode):
            raise PathInvalid(path=device, reason="it is no block device")
    else:
        path = _image(name, check_path(image or ""), size)
    bytes_ = size_of(path)
    if bytes_ < MINIMUM_DISK:
        raise DiskTooSmall(disk=name, size=bytes_, minimum=MINIMUM_DISK)
    loop = str(loop_devices.attach(path)) if image is not None else device
    with db.session() as session:
        _refuse_taken(session, name, device, image)
        disk = Disk(name=name, device=loop, image=image, size=bytes_, raid_group=None)
        session.add(disk)
    return disk


def _image(name: str, path: Path, size: int | None) -> Path:
    """Return the image file, made when it is new."""
    if path.exists():
        if not path.is_file():
            raise PathInvalid(path=path, reason="it is no regular file")
        if size is not None and path.stat().st_size != size:
            raise DiskSourceInvalid(disk=name, reason=f"{path} exists with another size")
        return path
    if size is None:
        raise DiskSourceInvalid(disk=name, reason=f"{path} does not exist and no size was given")
    if size < MINIMUM_DISK:
        raise DiskTooSmall(disk=name, size=size, minimum=MINIMUM_DISK)
    if not path.parent.is_dir():
        raise PathInvalid(path=path, reason=f"there is no directory {path.parent}")
    with path.open("xb") as file:
        file.truncate(size)
    return path


def _refuse_taken(session: Session, name: str, device: str | None, image: str | None) -> None:
    if session.scalar(select(Disk).where(Disk.name == name)):
        raise NameTaken(what="disk", name=name)
    source = image or device
    for disk in session.scalars(select(Disk)):
        if source is not None and source in (disk.device, disk.image):
            raise DiskAlreadyAdded(source=source, disk=disk.name)


def remove(db: Database, name: str) -> None:
    """Forget a free disk; an image file stays. Raises NotFound, DiskOfGroup."""
    with db.session() as session:
        disk = get(session, name)
        if disk.raid_group is not None:
            raise DiskOfGroup(disk=name, group=disk.raid_group.name)
        image = disk.image
        session.delete(disk)
    if image is not None:
        loop_devices.detach(Path(image))


def get(session: Session, name: str) -> Disk:
    """Return the disk. Raises NotFound."""
    disk = session.scalar(select(Disk).where(Disk.name == name))
    if disk is None:
        raise NotFound(what="disk", name=name, noun="disk")
    return disk


def listing(session: Session) -> list[Disk]:
    """Return all disks by name."""
    return list(session.scalars(select(Disk).order_by(Disk.name)))


def attach_images(db: Database) -> None:
    """Give every image its loop device (after a restart of the machine) and note which one it is; idempotent."""
    with db.session(read_only=True) as session:
        images = {disk.id: disk.image for disk in listing(session) if disk.image is not None}
    devices = {id_: str(loop_devices.attach(path)) for id_, image in images.items() if (path := Path(image)).exists()}
    with db.session() as session:
        for disk in listing(session):
            if disk.image is not None:
                disk.device = devices.get(disk.id)


def device_path(disk: Disk) -> Path:
    """Return the block device; for an image whose file is gone, a path that does not exist."""
    return Path(disk.device or "/dev/qreplica-missing")
