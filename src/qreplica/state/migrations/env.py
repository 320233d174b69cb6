"""Runs migrations on the connection that ``Database.upgrade`` hands over, inside its transaction."""

from alembic import context

from qreplica.state import access_models, alert_models, plain_models, schedule_models  # noqa: F401 - for their tables
from qreplica.state.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    user_module_prefix="types.",
)
context.run_migrations()
