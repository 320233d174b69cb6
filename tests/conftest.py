"""What all tests share: a directory of this run, where a sweep finds whatever a killed run leaves behind."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.lab.owner import make_owned
from qreplica.lab.processes import MARK
from qreplica.lab.sweep import sweep_dead, sweep_directory
from qreplica.lab.topology import TESTS
from qreplica.state.database import Database

_DIRECTORY = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the crash tests go on for as long as somebody has time."""
    parser.addoption("--soak", type=int, metavar="N", help="crash N times in each crash test; add --timeout 0")
    parser.addoption("--pictures", type=Path, metavar="DIR", help="where to keep pictures of the pages")
    parser.addoption("--seed", type=int, default=1, help="what the crash tests' randomness comes from")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put temporary files below the run's directory, and mark all processes that the tests start."""
    if os.geteuid() != 0 or config.option.collectonly:
        return
    sweep_dead((TESTS,))
    directory = TESTS / str(os.getpid())
    make_owned(directory)
    config.stash[_DIRECTORY] = directory
    if config.option.basetemp is None:
        config.option.basetemp = str(directory / "tmp")
    os.environ[MARK] = str(directory)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep tests of real parts from running beside each other: they share the machine's disks, ports and time."""
    if item.get_closest_marker("root") is not None:
        item.add_marker(pytest.mark.xdist_group("root"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run them last, when nothing runs beside them any more."""
    items.sort(key=lambda item: item.get_closest_marker("root") is not None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests left."""
    directory = config.stash.get(_DIRECTORY, None)
    if directory is not None:
        sweep_directory(directory)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Pass over tests of real parts without root: ``./run test`` has it, so that none is passed over there."""
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root: run it by “sudo ./run test”")


@pytest.fixture
def run_directory(pytestconfig: pytest.Config) -> Path:
    """The directory of this test run; only root has one."""
    return pytestconfig.stash[_DIRECTORY]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state database that has gone through all migrations, and nothing else."""
    file = tmp_path_factory.mktemp("migrated") / "qreplica.db"
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    database.dispose()
    return file


@pytest.fixture(autouse=True)
def quick_upgrade(migrated: Path) -> Iterator[None]:
    """Copy the tables of a new database: to go through all migrations is most of a fast test's time.

    With a patch of its own: the fixture for patches, were it asked for here, would be undone after all others.
    """
    upgrade = Database.upgrade

    def quickly(database: Database) -> None:
        if database.file is None or database.file.exists():
            upgrade(database)
        else:
            shutil.copyfile(migrated, database.file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "upgrade", quickly)
        yield
