"""Makes the state of a subsystem where there is none, and opens it."""

from sqlalchemy import select

from qreplica.daemon.config import Config
from qreplica.state import secrets
from qreplica.state.database import Database
from qreplica.state.models import Subsystem


def open_state(config: Config) -> Database:
    """Make the secrets key, the tables and the subsystem's row, as far as they are missing, and return the database."""
    secrets.unlock(config.state_dir)
    database = Database(config.database_url)
    database.upgrade()
    with database.session() as session:
        if session.scalar(select(Subsystem)) is None:
            session.add(Subsystem(name=config.subsystem, iqn_prefix=config.iqn_prefix))
    return database
