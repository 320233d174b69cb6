"""A whole controller: a qreplicad process on loopback, with real btrfs, a real tgtd and an inherited socket."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from qreplica.daemon.config import load
from qreplica.iscsi.initiator import Portal, Session
from qreplica.lab.licensing import Vendor

from ..ports import control_port, free_port  # noqa: TID252
from .nursery import Daemon

SOURCE = Path(__file__).parents[2] / "src"
HOST = "iqn.2026-11.org.example:host"
NAME, PASSWORD = "admin", "correct horse battery"
_PATIENCE = 60.0

T = TypeVar("T")


def eventually(look: Callable[[], T]) -> T:
    """Return what ``look`` finds, as soon as that is true; fail after a minute."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


class Controller:
    """A controller of the subsystem in ``directory``; ``listener``, its management socket, outlives its daemons."""

    def __init__(self, directory: Path, number: int = 1) -> None:
        self.directory = directory
        self.number = number
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.iscsi_port, self.peer_port = free_port(), free_port()
        self.control_port = control_port()
        self.config = directory / f"qreplicad-{number}.toml"
        self.vendor = Vendor(directory / "vendor-key.pub")
        self.config.write_text(self.text())
        self.log = directory / f"log-{number}"
        self.process: Daemon | None = None
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.listener.getsockname()[1]}/api/v1",
            trust_env=False,
            timeout=60,
            # The server closes idle connections after 5 s, which is what a client takes for fresh enough by default.
            limits=httpx.Limits(keepalive_expiry=1),
        )

    def text(self, **changes: object) -> str:
        values: dict[str, object] = {
            "subsystem": "source",
            "controller": self.number,
            "state_dir": str(self.directory / "state"),
            "runtime_dir": str(self.run),
            "iscsi_port": self.iscsi_port,
            "peer_port": self.peer_port,
            "tgt_control_port": self.control_port,
            "license_keys": [str(self.vendor.public)],
            **changes,
        }
        lines = ["tls = false", *(f"{name} = {value!r}" for name, value in values.items())]
        return "\n".join([*lines, "[[ports]]", "number = 1", "interface = 'lo'", "address = '127.0.0.1'", ""])

    @property
    def run(self) -> Path:
        return self.directory / f"run-{self.number}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def ready(self) -> bool:
        return (self.run / "ready").exists()

    def license(self) -> None:
        """License the subsystem, before any of its controllers is started."""
        self.vendor.make_keys()
        for directory in (self.directory / "state", self.run):
            directory.mkdir(exist_ok=True, mode=0o700)
        self.vendor.license_state(load(self.config))

    def start(self) -> None:
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        (self.run / "ready").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = Daemon(["--config", str(self.config)], self.listener.fileno(), log.fileno())

    def wait_until_ready(self) -> None:
        eventually(lambda: self.ready or self._fail_if_ended())

    def _fail_if_ended(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return False

    def kill(self) -> None:
        """Kill the daemon, which can do nothing about it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask the daemon to end, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)

    def children(self) -> dict[int, str]:
        """Return the daemon's child processes with their names."""
        found = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found

    def tgtd(self) -> int:
        """Return the pid of the daemon's tgtd, as soon as there is one."""
        return eventually(lambda: [pid for pid, name in self.children().items() if name == "tgtd"])[0]

    def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == expect, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def set_up(self) -> None:
        """Make the first administrator and log in."""
        secret = (self.directory / "state" / "setup-secret").read_text().strip()
        self.call("POST", "/setup", {"setup_secret": secret, "name": NAME, "password": PASSWORD}, expect=204)
        token = self.call("POST", "/login", {"name": NAME, "password": PASSWORD})["token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def log_in(self, iqn: str, name: str = HOST) -> Session:
        """Log in to a node, as soon as its portal answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return Session.connect(Portal("127.0.0.1", self.iscsi_port), iqn, name, timeout=5)
            except Exception as error:
                if time.monotonic() > deadline:
                    error.add_note(self.log.read_text()[-4000:])
                    error.add_note(Path(f"/proc/{self.tgtd()}/status").read_text())
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.http.close()
        self.listener.close()
        clean_up(self.directory)


def provision(controller: Controller) -> str:
    """Make a RAID group, a VD and a node that shows it to one host; return the node's IQN."""
    controller.set_up()
    for number in (1, 2):
        image = str(controller.directory / f"{number}.img")
        controller.call("POST", "/disks", {"name": f"d{number}", "image": image, "size": "2GiB"}, expect=201)
    controller.call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)
    controller.call("POST", "/virtual-disks", {"name": "v1", "raid_group": "rg1", "size": "64MiB"}, expect=201)
    controller.call("PATCH", "/virtual-disks/v1", {"snapshot_space": "64MiB"})
    node = controller.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
    controller.call("POST", "/luns", {"node": "hosts", "vd": "v1"}, expect=201)
    return str(node["iqn"])


def identity(session: Session) -> tuple[object, ...]:
    """Return what tells LUN 1 from every other disk; not the designator of the port that it was asked through."""
    disk = [one for one in session.identification(1) if one.association == 0]
    return (session.serial(1), disk, session.inquiry(1), session.capacity(1).size)


def clean_up(directory: Path) -> None:
    """Unmount what is mounted below the directory, and remove the loop devices of its files."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{directory}/")), reverse=True):
        eventually(lambda mount=mount: subprocess.run(["umount", mount], check=False).returncode == 0)
    for image in directory.glob("*.img"):
        for device in loops(image):
            subprocess.run(["losetup", "--detach", device], check=True)


def loops(image: Path) -> list[str]:
    """Return the loop devices of an image."""
    shown = ["losetup", "--noheadings", "--output", "NAME", "--associated", str(image)]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.split()


def gone(pid: int) -> bool:
    """Wait until the process has ended, and tell whether it has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 30)[0])
    finally:
        os.close(pidfd)
