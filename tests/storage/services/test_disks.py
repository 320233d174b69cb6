"""Disks: block devices, and images on real loop devices."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import NotAName, PathInvalid
from qreplica.state.models import Disk, RaidGroup
from qreplica.storage import disks, loop_devices
from qreplica.storage.capacity import MINIMUM_DISK
from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import DiskTooSmall
from qreplica.storage.service_errors import (
    DiskAlreadyAdded,
    DiskImageMissing,
    DiskOfGroup,
    DiskSourceInvalid,
    NameTaken,
)
from qreplica.units import GIB, MIB

from .world import Crash, World

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A directory for images; what stands for them afterwards is detached."""
    place = tmp_path / "images"
    place.mkdir()
    yield place
    for image in place.iterdir():
        if image.is_file():
            loop_devices.detach(image)


def loops(place: Path) -> list[str]:
    """Return the images below ``place`` that loop devices stand for."""
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return sorted(Path(line.strip()).name for line in listed if line.strip().startswith(f"{place}/"))


def make(image: Path, size: int = MINIMUM_DISK) -> Path:
    with image.open("wb") as file:
        file.truncate(size)
    return image


def listed(world: World) -> list[Disk]:
    with world.database.session(read_only=True) as session:
        return disks.listing(session)


def test_a_new_image_is_made_sparse_and_stands_as_a_device(world: World, images: Path) -> None:
    disk = disks.add(world.db, name="d1", image=str(images / "d1.img"), size=GIB)
    assert disk.size == GIB
    assert (images / "d1.img").stat().st_blocks == 0
    device = disks.device_path(disk)
    assert device.is_block_device()
    loop = Path("/sys/class/block") / device.name / "loop"
    assert (loop / "backing_file").read_text().strip() == str(images / "d1.img")
    assert (loop / "dio").read_text().strip() == "1"
    assert [one.name for one in listed(world)] == ["d1"]


def test_an_image_that_exists_keeps_what_it_holds(world: World, images: Path) -> None:
    image = make(images / "d1.img")
    with image.open("r+b") as file:
        file.write(b"already there")
    disk = disks.add(world.db, name="d1", image=str(image))
    assert disk.size == MINIMUM_DISK
    with disks.device_path(disk).open("rb") as device:
        assert device.read(13) == b"already there"


def test_a_block_device_is_a_disk(world: World, images: Path) -> None:
    device = loop_devices.attach(make(images / "d1.img"))
    disk = disks.add(world.db, name="d1", device=str(device))
    assert (disk.size, disk.image, disks.device_path(disk)) == (MINIMUM_DISK, None, device)
    disks.remove(world.db, "d1")
    assert loops(images) == ["d1.img"]


def test_a_removed_image_is_detached_and_kept(world: World, images: Path) -> None:
    disks.add(world.db, name="d1", image=str(images / "d1.img"), size=GIB)
    disks.remove(world.db, "d1")
    assert loops(images) == []
    assert (images / "d1.img").stat().st_size == GIB
    assert listed(world) == []
    with pytest.raises(NotFound, match="no disk “d1”"):
        disks.remove(world.db, "d1")


def test_a_disk_of_a_group_is_not_removed(world: World, images: Path) -> None:
    disk = disks.add(world.db, name="d1", image=str(images / "d1.img"), size=GIB)
    with world.database.session() as session:
        group = RaidGroup(name="rg1", level=RaidLevel.JBOD, usable=1, reserve=0)
        session.add(group)
        session.flush()
        session.get_one(Disk, disk.id).raid_group_id = group.id
    with world.unchanged(), pytest.raises(DiskOfGroup, match="d1 belongs to RAID group rg1"):
        disks.remove(world.db, "d1")
    assert loops(images) == ["d1.img"]


def facts_of(images: Path, **facts: object) -> dict[str, object]:
    """Fill in where images lie."""
    return {key: str(images / value) if key == "image" else value for key, value in facts.items()}  # type: ignore[operator] # images are named by text


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (NotAName, {"name": "D 1", "image": "d1.img", "size": GIB}),
        (DiskSourceInvalid, {}),
        (DiskSourceInvalid, {"image": "d1.img", "device": "/dev/null"}),
        (DiskSourceInvalid, {"image": "d1.img"}),
        (DiskSourceInvalid, {"image": "d1.img", "size": GIB + 512}),
        (DiskSourceInvalid, {"image": "there.img", "size": GIB}),
        (DiskSourceInvalid, {"device": "/dev/loop0", "size": GIB}),
        (DiskTooSmall, {"image": "d1.img", "size": MINIMUM_DISK - MIB}),
        (DiskTooSmall, {"image": "small.img"}),
        (PathInvalid, {"image": "nowhere/d1.img", "size": GIB}),
        (PathInvalid, {"image": "../d1.img", "size": GIB}),
        (PathInvalid, {"image": "new\nline.img", "size": GIB}),
        (PathInvalid, {"image": "x" * 300, "size": GIB}),
        (PathInvalid, {"image": "directory"}),
        (PathInvalid, {"device": "/dev/null"}),
        (PathInvalid, {"device": "dev/sda"}),
        (PathInvalid, {"device": "/dev/there-is-no-such-disk"}),
    ],
)
def test_what_cannot_be_a_disk_is_refused(
    world: World, images: Path, error: type[QReplicaError], facts: dict[str, object]
) -> None:
    make(images / "there.img")
    make(images / "small.img", MIB)
    (images / "directory").mkdir()
    with world.unchanged(), pytest.raises(error):
        disks.add(world.db, **{"name": "d1", **facts_of(images, **facts)})  # type: ignore[arg-type] # wrong on purpose
    assert loops(images) == []


def test_names_and_sources_are_taken_once(world: World, images: Path) -> None:
    first = disks.add(world.db, name="d1", image=str(images / "d1.img"), size=GIB)
    (images / "link.img").symlink_to(images / "d1.img")
    os.link(images / "d1.img", images / "hard.img")
    with world.unchanged():
        with pytest.raises(NameTaken, match="already a disk “d1”"):
            disks.add(world.db, name="d1", image=str(images / "d2.img"), size=GIB)
        for again in ("d1.img", "link.img", "hard.img"):
            with pytest.raises(DiskAlreadyAdded, match="is already disk “d1”"):
                disks.add(world.db, name="d2", image=str(images / again))
        with pytest.raises(DiskAlreadyAdded, match="is already disk “d1”"):
            disks.add(world.db, name="d2", device=str(disks.device_path(first)))
    assert loops(images) == ["d1.img"]


def test_a_failure_leaves_neither_image_nor_device(world: World, images: Path) -> None:
    world.fate.places["before commit"] = NotFound(what="disk", name="x", noun="disk")
    with world.unchanged(), pytest.raises(NotFound):
        disks.add(world.db, name="d1", image=str(images / "d1.img"), size=GIB)
    assert loops(images) == []
    with world.unchanged(), pytest.raises(PathInvalid, match="is too long"):
        disks.add(world.db, name="d1", image=str(images / ("x" * 256)), size=GIB)


def test_a_crash_in_the_middle_is_healed_by_asking_again(world: World, images: Path) -> None:
    image = str(images / "d1.img")
    loop_devices.attach(make(images / "d1.img", GIB))
    world.fate.places["session"] = Crash()
    with pytest.raises(Crash):
        disks.add(world.db, name="d1", image=image, size=GIB)
    world.restart()
    disk = disks.add(world.db, name="d1", image=image, size=GIB)
    assert loops(images) == ["d1.img"]
    assert disks.device_path(disk).is_block_device()


def test_images_get_their_devices_back_after_a_restart_of_the_machine(world: World, images: Path) -> None:
    for name in ("d1", "d2", "d3"):
        disks.add(world.db, name=name, image=str(images / f"{name}.img"), size=GIB)
    for name in ("d1", "d2"):
        loop_devices.detach(images / f"{name}.img")
    (images / "d2.img").unlink()
    failures = disks.attach_images(world.db)
    assert list(failures) == ["d2"]
    assert isinstance(failures["d2"], DiskImageMissing)
    found = {disk.name: disk for disk in listed(world)}
    assert disks.device_path(found["d1"]) == loop_devices.attached(images / "d1.img")
    assert not disks.device_path(found["d2"]).exists()
    assert loops(images) == ["d1.img", "d3.img"]


def test_a_part_of_an_image_or_a_view_of_it_is_not_its_device(images: Path) -> None:
    image = make(images / "d1.img")
    wrong = []
    for options in (["--offset", "4096"], ["--sizelimit", "8192"], ["--read-only"]):
        command = ["losetup", "--find", "--show", *options, str(image)]
        wrong.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    try:
        assert loop_devices.attached(image) is None
        right = loop_devices.attach(image)
        assert str(right) not in wrong
        assert loop_devices.attach(image) == right
    finally:
        for device in wrong:
            subprocess.run(["losetup", "--detach", device], check=True)
