"""Runs the programs that a lab is built with."""

import subprocess
from collections.abc import Mapping, Sequence

from qreplica.lab.errors import CommandFailed

_PATIENCE = 120


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = _PATIENCE,
) -> str:
    """Run a program to its end and return what it printed. Raises CommandFailed with what it complained of."""
    shown = " ".join(argv)
    try:
        done = subprocess.run(
            argv, input=stdin, env=env, timeout=timeout, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise CommandFailed(command=shown, reason=f"there is no program “{argv[0]}”") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(command=shown, reason=f"it did not end within {timeout:.0f} s") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise CommandFailed(command=shown, reason=said or f"it ended with exit code {done.returncode}")
    return done.stdout


def inside(namespace: str, *argv: str) -> list[str]:
    """Return the command that runs ``argv`` in a network namespace.

    Only the network is changed (``ip netns exec`` would unshare mounts too): RGs mounted inside are visible outside.
    """
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]
