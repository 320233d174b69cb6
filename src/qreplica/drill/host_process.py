"""A process in the namespace of the lab's host, which is asked one thing as JSON and answers in lines."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from pydantic import BaseModel

from qreplica.drill.errors import HostFailed
from qreplica.lab.administration import login_environment
from qreplica.lab.commands import inside
from qreplica.lab.topology import Lab


class HostProcess:
    """One that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, request: BaseModel) -> None:
        """Give it its request."""
        told = cast("IO[str]", self._process.stdin)
        told.write(request.model_dump_json() + "\n")
        told.flush()

    def hang_up(self) -> None:
        """End what it is told."""
        cast("IO[str]", self._process.stdin).close()

    def line(self) -> str:
        """Return its next line. Raises HostFailed when it has ended without one."""
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise HostFailed(reason=cast("IO[str]", self._process.stderr).read().strip())
        return line


@contextmanager
def running(lab: Lab, module: str, request: BaseModel) -> Iterator[HostProcess]:
    """Run a module with a request; it is killed at the end of the block if it still runs."""
    with subprocess.Popen(
        inside(lab.host, sys.executable, "-m", module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=login_environment(lab),
    ) as process:
        try:
            made = HostProcess(process)
            made.ask(request)
            yield made
        finally:
            process.kill()
