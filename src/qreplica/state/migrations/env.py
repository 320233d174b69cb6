"""Runs migrations on the connection that ``Database.upgrade`` hands over, inside its transaction."""

from alembic import context

from qreplica.state import (  # noqa: F401 - for their tables
    access_models,
    alert_models,
    failover_models,
    lag_models,
    plain_models,
    promotion_models,
    retention_models,
    schedule_models,
    test_mount_models,
    verification_models,
)
from qreplica.state.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    user_module_prefix="types.",
)
context.run_migrations()
