"""A subsystem's controller over real SQLite and drivers in memory, answering over real HTTP on loopback."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy.orm import Session

from qreplica.api.app import create_app
from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.letting_go import LettingGo
from qreplica.daemon.reconcile import Reconciler
from qreplica.daemon.services import Services
from qreplica.iscsi import nodes, ports
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.lab.licensing import Vendor
from qreplica.license.licensing import Licensing
from qreplica.peer.server import peer_app
from qreplica.replication.failing_over import FailingOver
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.links import NetworkLinks
from qreplica.replication.promotion import Promoter
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.write_protection import WriteProtection
from qreplica.state.database import Database
from qreplica.state.models import (
    Disk,
    Job,
    Node,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    Subsystem,
    VirtualDisk,
    new_id,
)
from qreplica.state.models import Path as JobPath
from qreplica.state.types import Secret
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB

#: The key is the process's, so that all worlds of one share it.
KEY = Fernet.generate_key()
NAME, PASSWORD = "admin", "correct horse battery"


class Stillness:
    """Targets that are always still: there is no daemon."""

    def still_paused(self) -> bool:
        return True


@contextlib.contextmanager
def pause() -> Iterator[Stillness]:
    yield Stillness()


class Workers:
    """Counts how often it was woken."""

    def __init__(self) -> None:
        self.woken = threading.Semaphore(0)

    def wake(self) -> None:
        self.woken.release()


class World:
    """One subsystem, ``name``, in ``directory``; ``now`` is what its licensing takes for the time, if it is set."""

    def __init__(
        self,
        directory: Path,
        name: str = "source",
        storage: type[MemoryDriver] = MemoryDriver,
        *,
        licensed: bool = True,
    ) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.vendor = Vendor(directory / "vendor-key.pub")
        self.vendor.make_keys()
        self.now: datetime | None = None
        Secret.unlock(KEY)
        config = Config(
            subsystem=name,
            controller=1,
            state_dir=directory,
            runtime_dir=directory,
            tgt_control_port=1,
            license_keys=(self.vendor.public,),
            ports=tuple(
                PortConfig(number=number, interface=f"p{number}", address=f"192.168.1.{number}")
                for number in range(1, 5)
            ),
        )
        self.database = Database(config.database_url)
        self.database.upgrade()
        with self.database.session() as session:
            session.add(Subsystem(name=name, iqn_prefix=config.iqn_prefix))
            ports.note(session, 1, config.ports)
        self.storage = storage(directory / "rg")
        self.target = MemoryTargetDriver()
        self.locks = NodeLocks()
        self.workers = Workers()
        self.licensing = Licensing(
            self.database, config.license_keys, config.controller, clock=lambda: self.now or datetime.now(UTC)
        )
        if licensed:
            self.licensing.upload(self.vendor.license(self.licensing.status().serial))
        self.licensing.begin()
        reconciler = Reconciler(config, self.database, self.storage, self.target, self.locks)

        def spec_of(session: Session, node: Node) -> NodeSpec:
            return nodes.spec(session, self.storage, node)

        serving = Serving(self.database, self.storage, {1: self.target}, spec_of, self.locks)
        recovery = Recovery(self.database, self.storage, serving)
        let_go = LettingGo(
            self.database, self.storage, (self.target, []), self.locks, lock=directory / "roll-back.lock"
        )
        giving_way = GivingWay(self.database, self.storage, pause, let_go, 1, NetworkLinks().peer)
        self.services = Services(
            config,
            self.database,
            self.storage,
            self.target,
            self.locks,
            pause,
            recovery,
            Promoter(self.database, serving),
            giving_way,
            FailingOver(self.database, serving),
            WriteProtection(self.database, serving),
            let_go,
            self.workers,
            reconciler,
            self.licensing,
        )
        self.app = create_app(self.services)

    @property
    def setup_secret(self) -> str:
        return (self.directory / "setup-secret").read_text().strip()

    def add_disks(self, *names: str, size: int = 10 * GIB) -> None:
        """Put disks into the database as they would be after adding block devices: files stand for these."""
        with self.database.session() as session:
            for name in names:
                file = self.directory / name
                file.touch()
                with file.open("r+b") as stream:
                    stream.truncate(size)
                session.add(Disk(name=name, device=str(file), image=None, size=size))

    def add_job(self, name: str, source_vd: str, **columns: object) -> Job:
        """Put a job into the database as ``jobs.create`` would."""
        with self.database.session() as session:
            vd = session.query(VirtualDisk).filter_by(name=source_vd).one()
            facts = {
                "id": new_id(),
                "name": name,
                "source_vd_id": vd.id,
                "target_subsystem": new_id(),
                "target_subsystem_name": "target",
                "target_node": "iqn.2026-11.org.qreplica:target.backups",
                "target_lun": 1,
                "target_vd": new_id(),
                "target_vd_name": f"{source_vd}-copy",
                "target_serial": new_id(),
                "target_size": vd.size,
                "chap_user": "replica",
                "chap_secret": "a secret of the node",
                "paths": [JobPath(position=0, address="192.168.1.11")],
                **columns,
            }
            job = Job(**facts)
            session.add(job)
        return job

    def add_point(self, vd_name: str, generation: int, committed_at: datetime | None = None) -> None:
        """Make a recovery point of a backup VD, ``recovery-N``, as a cycle of one and the same job would."""
        at = committed_at or datetime.now(UTC)
        with self.database.session() as session:
            vd = session.query(VirtualDisk).filter_by(name=vd_name).one()
            taken = self.storage.take_snapshot(vd.raid_group_id, vd.id, new_id())
            snapshot = Snapshot(
                id=taken.snapshot,
                vd_id=vd.id,
                name=f"recovery-{generation}",
                kind=SnapshotKind.RECOVERY_POINT,
                size=vd.size,
                taken_at=at,
            )
            session.add(snapshot)
            session.flush()
            session.add(
                RecoveryPoint(
                    vd_id=vd.id,
                    snapshot_id=snapshot.id,
                    job_id="5" * 32,
                    generation=generation,
                    source_snapshot=new_id(),
                    size=vd.size,
                    manifest="0" * 64,
                    committed_at=at,
                )
            )

    def peer_app(self) -> FastAPI:
        return peer_app(self.database, 1, self.services.recovery, self.services.promoter)

    def close(self) -> None:
        self.database.dispose()


@contextlib.contextmanager
def served(app: FastAPI, certificate: Path | None = None, key: Path | None = None, *, port: int = 0) -> Iterator[int]:
    """Serve ``app`` on loopback, by TLS with a certificate, and give the port: ``port``, or any for 0."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the daemon's own sockets have it
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="h11", ssl_certfile=certificate, ssl_keyfile=key
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Administrator:
    """Speaks to a world as a logged-in administrator does."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)

    def set_up(self, world: World) -> None:
        body = {"setup_secret": world.setup_secret, "name": NAME, "password": PASSWORD}
        assert self.http.post("/api/v1/setup", json=body).status_code == 204
        answer = self.http.post("/api/v1/login", json={"name": NAME, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> object:
        """Return the JSON of an answer that must have the status ``expect``."""
        answer = self.http.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == expect, (answer.status_code, answer.text)
        return answer.json() if answer.content else None
