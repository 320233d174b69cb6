"""``qreplica job verify`` and ``repair``: what is told of a verification, and how the command ends."""

import threading
import time
from typing import Any

import pytest

from qreplica.state.models import Job, JobState, now
from qreplica.state.verification_models import Verification, VerificationState
from qreplica.units import GIB, MIB

from .test_jobs import stock


@pytest.fixture
def job(world: Any) -> None:
    stock(world, "payroll")
    world.add_job("nightly", "payroll", base_generation=3, generation=3)


def _ends(world: Any, state: VerificationState, **facts: Any) -> threading.Thread:
    """Go on with the verification as a controller would, and end it so."""

    def write(**values: Any) -> bool:
        with world.database.session() as session:
            row = session.query(Verification).one_or_none()
            if row is None or row.state is not VerificationState.RUNNING:
                return False
            for name, value in values.items():
                setattr(row, name, value)
            return True

    def work() -> None:
        begun = {"position": 512 * MIB, "size": GIB, "rate": 256.0 * MIB, "first_generation": 3, "generation": 3}
        while not write(**begun):
            time.sleep(0.05)
        time.sleep(1.2)
        write(state=state, position=GIB, rate=0.0, finished_at=now(), **facts)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.usefixtures("job")
def test_one_that_passes_is_followed_to_its_end(world: Any, logged_in: Any) -> None:
    assert logged_in.run("job", "verify", "nightly", "--show").out == "The copy was never verified.\n"
    controller = _ends(world, VerificationState.PASSED, generation=4)
    ended = logged_in.run("job", "verify", "nightly", "--limit", "256MiB")
    controller.join()
    assert ended.out == "The copy is right: 1 GiB of generations 3 to 4 are the same on both sides.\n"
    assert "nightly: verify    50.0 %  512 MiB of 1 GiB  256 MiB/s  2.0 s left" in ended.err
    assert logged_in.run("job", "verify", "nightly", "--show", "--json").json()["limit"] == 256 * MIB


@pytest.mark.usefixtures("job")
def test_one_that_finds_differences_ends_with_10_and_they_are_repaired(world: Any, logged_in: Any) -> None:
    differing = [[number * MIB, 4096] for number in range(7)]
    controller = _ends(world, VerificationState.DIFFERS, differing=differing, differing_bytes=7 * 4096)
    ended = logged_in.run("job", "verify", "nightly", code=10)
    controller.join()
    assert "is not known to be right: The copy of generation 3 differs in 28 KiB: 4 KiB at byte 0," in ended.err
    assert "and 2 more ranges" in ended.err
    assert logged_in.run("job", "repair", "nightly").out == (
        "28 KiB that differ are sent again: verify the copy once the cycle is committed.\n"
    )
    with world.database.session(read_only=True) as session:
        assert session.query(Job).one().state is JobState.RUNNING
    assert "The next cycle sends them again." in logged_in.run("job", "verify", "nightly", "--show").out
    assert "still to be repaired" in logged_in.run("job", "verify", "nightly", code=4).err


@pytest.mark.usefixtures("job")
def test_it_is_begun_stopped_and_scheduled(logged_in: Any) -> None:
    run = logged_in.run
    assert run("job", "verify", "nightly", "--no-wait").out == (
        "The copy of “nightly” is being verified: see “qreplica job verify nightly --show”.\n"
    )
    assert run("job", "verify", "nightly", "--stop").out == "The last verification was stopped after 0 B.\n"
    assert run("job", "verify", "nightly", "--every", "7").out.endswith("One begins every 7 days.\n")
    assert run("job", "verify", "nightly", "--every", "0", code=2).err.startswith(
        "Error: A copy cannot be verified every 0 days"
    )
    assert run("job", "verify", "nightly", "--every", "never", "--json").json()["every_days"] is None
    assert "nothing to repair" in run("job", "repair", "nightly", code=4).err
