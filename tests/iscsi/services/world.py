"""A subsystem called ``alpha`` with two RAID VDs and two backup VDs, and the target driver that is to serve them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.state.database import Database
from qreplica.state.models import Base, Claim, Disk, Lun, Node, SnapshotKind, Subsystem, VdType
from qreplica.storage import raid_groups, snapshots, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.storage.memory import MemoryDriver
from qreplica.storage.startup import open_storage
from qreplica.units import GIB, MIB

T = TypeVar("T")


class _Still:
    def still_paused(self) -> bool:
        return True


@contextmanager
def no_pause() -> Iterator[_Still]:
    yield _Still()


def furnish(place: Path) -> None:
    """Make the subsystem in the directory."""
    database, storage = Database(f"sqlite:///{place / 'state.db'}"), MemoryDriver(place / "groups")
    database.upgrade()
    disk = place / "disk"
    with disk.open("wb") as file:
        file.truncate(GIB)
    with database.session() as session:
        session.add(Subsystem(name="alpha", iqn_prefix="iqn.2026-11.org.qreplica"))
        session.add(Disk(name="d1", device=str(disk), image=None, size=GIB))
    raid_groups.create(database, storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    for name, type_ in (("v1", VdType.RAID), ("v2", VdType.RAID), ("b1", VdType.BACKUP), ("b2", VdType.BACKUP)):
        virtual_disks.create(database, storage, name=name, raid_group="rg1", size=4 * MIB, type_=type_)
    virtual_disks.set_snapshot_space(database, storage, "v1", 8 * MIB)
    database.dispose()


class World:
    """The state, the storage behind it, and a target daemon."""

    def __init__(self, place: Path) -> None:
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.storage = MemoryDriver(place / "groups")
        self.target = MemoryTargetDriver()
        open_storage(self.database, self.storage)

    def do(self, action: Callable[..., T], **facts: Any) -> T:
        """Call a service in a transaction of its own."""
        with self.database.session() as session:
            return action(session, **facts)

    def node(self, name: str = "n1", **facts: Any) -> Node:
        return self.do(nodes.create, name=name, **facts)

    def attach(self, vd: str, node: str = "n1", **facts: Any) -> Lun:
        return self.do(nodes.attach, node=node, vd=vd, **facts)

    def snapshot(self, vd: str = "v1", name: str = "s1") -> str:
        """Take a snapshot, and return its id."""
        with self.database.session(read_only=True) as session:
            vd_id = virtual_disks.get(session, vd).id
        return snapshots.take(
            self.database, self.storage, no_pause, vd_id=vd_id, name=name, kind=SnapshotKind.MANUAL
        ).id

    def claim(self, vd: str, node: str, initiator: str, job: str = "j1") -> None:
        """Write down that a job holds the backup VD; with an empty job that one has held it."""
        with self.database.session() as session:
            facts = {"job_id": job, "source_subsystem": "s", "epoch": 4, "initiator": initiator}
            vd_id, node_id = virtual_disks.get(session, vd).id, nodes.get(session, node).id
            session.merge(Claim(vd_id=vd_id, node_id=node_id, **facts))

    def spec(self, node: str = "n1") -> NodeSpec:
        with self.database.session(read_only=True) as session:
            return nodes.spec(session, self.storage, nodes.get(session, node))

    def serve(self, node: str = "n1") -> NodeSpec:
        """Bring the target daemon to what the node is to be, and return that."""
        spec = self.spec(node)
        self.target.apply_node(spec)
        return spec

    def read(self, question: Callable[[Session], T]) -> T:
        with self.database.session(read_only=True) as session:
            return question(session)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert that the block changes no row."""

        def rows(session: Session) -> dict[str, list[Any]]:
            tables = Base.metadata.sorted_tables
            return {table.name: sorted(map(tuple, session.execute(select(table))), key=repr) for table in tables}

        before = self.read(rows)
        yield
        assert self.read(rows) == before
