"""Who owns a directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qreplica.lab.owner import Owner, keep, make_owned


def test_a_directory_belongs_to_who_made_it_until_it_is_kept(tmp_path: Path) -> None:
    make_owned(tmp_path / "it")
    owner = Owner.of(tmp_path / "it")
    assert owner == Owner.me()
    assert owner is not None
    assert owner.alive
    keep(tmp_path / "it")
    assert Owner.of(tmp_path / "it") is None


def test_a_directory_is_handed_over_to_who_started_the_process(tmp_path: Path) -> None:
    make_owned(tmp_path / "it")
    program = (
        "import sys; from pathlib import Path; from qreplica.lab.owner import hand_over; hand_over(Path(sys.argv[1]))"
    )
    (tmp_path / "it/owner").unlink()
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "it")], check=True)
    assert Owner.of(tmp_path / "it") == Owner.me()


def test_others_cannot_look_in(tmp_path: Path) -> None:
    make_owned(tmp_path / "it")
    assert (tmp_path / "it").stat().st_mode & 0o777 == 0o700


def test_it_is_made_once(tmp_path: Path) -> None:
    make_owned(tmp_path / "it")
    with pytest.raises(FileExistsError):
        make_owned(tmp_path / "it")
    assert [entry.name for entry in tmp_path.iterdir()] == ["it"]


def test_a_later_process_with_the_same_pid_is_not_the_owner(tmp_path: Path) -> None:
    me = Owner.me()
    (tmp_path / "owner").write_text(f"{me.pid} {me.ticks - 1}\n")
    found = Owner.of(tmp_path)
    assert found is not None
    assert not found.alive


def test_one_that_ended_is_dead(dead_owner: Owner) -> None:
    assert not dead_owner.alive


def test_a_directory_that_its_maker_did_not_finish_has_an_owner(tmp_path: Path) -> None:
    unfinished = tmp_path / f".it.{os.getpid()}.1"
    unfinished.mkdir()
    assert Owner.of(unfinished) == Owner(os.getpid(), 1)


@pytest.mark.parametrize("content", ["", "nonsense", "1", "a b", "1 2 3"])
def test_a_damaged_owner_file_does_not_condemn_a_directory(tmp_path: Path, content: str) -> None:
    (tmp_path / "owner").write_text(content)
    assert Owner.of(tmp_path) is None
