"""The application that answers administrators: REST under ``/api/v1``, and the metrics."""

from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from qreplica.access import secret_files
from qreplica.access.audit import Audit
from qreplica.access.sessions import Sessions
from qreplica.access.setting_up import SettingUp
from qreplica.access.users import Users
from qreplica.api import (
    account,
    alerts,
    audit,
    auth,
    certificates,
    controllers,
    disks,
    events,
    failovers,
    giving_way,
    health,
    job_history,
    job_paths,
    job_rpo,
    job_schedule,
    job_verification,
    jobs,
    licenses,
    luns,
    metrics,
    nodes,
    ports,
    promotions,
    qreplica_configuration,
    raid_groups,
    recovery_points,
    retention,
    setup,
    snapshots,
    source_vds,
    subsystem,
    test_mounts,
    users,
    virtual_disks,
)
from qreplica.api.access import PREFIX
from qreplica.api.body_limit import BodyLimit
from qreplica.api.problems import Problem, answer_with_problems
from qreplica.daemon.services import Services

_DESCRIPTION = """Manages one storage subsystem. Sizes are bytes, and may be given as a text such as `10GiB`; times are
RFC 3339 in UTC. A failure is an RFC 9457 problem whose `detail` says what happened, why, and what to do.

Log in with `POST /api/v1/login` and send the token as `Authorization: Bearer TOKEN`. `x-least-role` of an operation is
the least role that may call it: `viewer`, `operator` or `admin`, each of which may also do what those before it may."""


def create_app(services: Services) -> FastAPI:
    """Return the application of one controller; writes the one-time setup secret when nobody has set it up."""
    config = services.config
    app = FastAPI(
        title="QReplica",
        version="1",
        description=_DESCRIPTION,
        openapi_url=PREFIX + "/openapi.json",
        # Their pages load scripts from elsewhere, which a subsystem's network need not reach.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.setting_up = SettingUp(services.database, config.state_dir, config.controller)
    app.state.users = Users(services.database)
    app.state.sessions = Sessions(services.database, config.controller, timedelta(minutes=config.login_idle_minutes))
    app.state.audit = Audit(services.database, config.controller)
    app.state.setting_up.offer()
    secret_files.make_once(config.state_dir / secret_files.METRICS)
    app.add_middleware(BodyLimit)
    answer_with_problems(app, config.controller)
    app.include_router(auth.open_router)
    app.include_router(users.sessions_router)
    for resource in (
        setup,
        auth,
        account,
        users,
        audit,
        health,
        subsystem,
        licenses,
        certificates,
        controllers,
        ports,
        disks,
        raid_groups,
        virtual_disks,
        promotions,
        retention,
        snapshots,
        recovery_points,
        test_mounts,
        nodes,
        luns,
        jobs,
        job_history,
        failovers,
        giving_way,
        job_paths,
        job_schedule,
        job_verification,
        job_rpo,
        source_vds,
        qreplica_configuration,
        events,
        alerts,
        metrics,
    ):
        app.include_router(resource.router)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add the problem's schema to the description, since no operation returns it by its type."""
    described: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not described:
            described.update(
                get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            )
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = described["components"]["schemas"]
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
        return described

    app.openapi = openapi  # type: ignore[method-assign] # the way that FastAPI documents
