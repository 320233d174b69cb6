"""A disk of another maker as a job's target, from the command line down to a real tgtd."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qreplica.units import GIB

from ..iscsi.initiator.conftest import Tgtd  # noqa: TID252 - a tgtd that is nobody's
from ..ports import free_port  # noqa: TID252
from .test_jobs import stock

pytestmark = pytest.mark.root

IQN = "iqn.2024-05.com.example:foreign"
NAA = "naa.60000000000000000e00000000010001"


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[list[str]]:
    """Give the options that name a disk of a tgtd that is nobody's; its first bytes are not zeros."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    tgtd = Tgtd(folder)
    tgtd.start()
    try:
        with (folder / "disk").open("wb") as disk:
            disk.write(b"somebody's data")
            disk.truncate(GIB)
        tgtd.add_node(1, IQN)
        tgtd.admin("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", str(folder / "disk"))
        where = ["--address", "127.0.0.1", "--port", str(tgtd.port), "--peer-port", str(free_port())]
        yield [*where, "--node", IQN, "--lun", "1", "--source-vd", "payroll"]
    finally:
        tgtd.stop()


def test_a_plain_target_is_made_shown_accepted_and_let_go(world: Any, logged_in: Any, foreign: list[str]) -> None:
    stock(world, "payroll")
    refused = logged_in.run("job", "create", "nightly", *foreign, code=2)
    for words in ("another maker", "no recovery points", "--plain-target"):
        assert words in " ".join(refused.err.split())
    refused = logged_in.run("job", "create", "nightly", *foreign, "--plain-target", code=4)
    assert f"--overwrite {NAA}" in " ".join(refused.err.split())
    made = logged_in.run("job", "create", "nightly", *foreign, "--plain-target", "--overwrite", NAA)
    assert "It is a plain target, with no recovery points" in " ".join(made.out.split())
    shown = logged_in.run("job", "show", "nightly").out
    assert "no recovery points, only the newest copy" in shown
    assert "yes, by a persistent reservation" in shown
    facts = logged_in.run("job", "show", "nightly", "--json").json()["plain"]
    assert (facts["disk"], facts["fenced"]) == (NAA, True)
    refused = logged_in.run("job", "path", "add", "nightly", "127.0.0.2", code=2)
    assert "plain target" in refused.err
    logged_in.run("job", "accept-disk", "nightly", code=4)
    accepted = logged_in.run("job", "accept-disk", "nightly", "--yes")
    assert "full copy" in accepted.out
    logged_in.run("job", "delete", "nightly", "--yes")
    # The reservation is gone: another job can be made.
    logged_in.run("job", "create", "weekly", *foreign, "--plain-target", "--overwrite", NAA)
