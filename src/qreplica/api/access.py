"""Who may call: each operation has ``Administered`` among its dependencies, or stands in ``OPEN``."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from qreplica.access.administrators import Administrators
from qreplica.access.errors import TokenMissing
from qreplica.api.problems import problems
from qreplica.daemon.services import Services

PREFIX: Final = "/api/v1"

#: The operations that need no token, and why.
OPEN: Final = {
    "/api/v1/setup": "makes the first administrator, against the one-time secret",
    "/api/v1/login": "gives the token",
    "/api/v1/health": "says that the controller answers, and nothing else",
    "/api/v1/openapi.json": "describes this API, which is public",
    "/metrics": "asks for the metrics token, or an administrator's, by itself",
}

_bearer = HTTPBearer(auto_error=False, description="The token that `POST /api/v1/login` gave")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _administrators(request: Request) -> Administrators:
    administrators: Administrators = request.app.state.administrators
    return administrators


#: The services of this controller.
TheServices = Annotated[Services, Depends(_services)]
#: The administrators of this subsystem.
TheAdministrators = Annotated[Administrators, Depends(_administrators)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def token_of(credentials: Credentials) -> str:
    """Return the token that the request carries. Raises TokenMissing."""
    if credentials is None:
        raise TokenMissing
    return credentials.credentials


def administrator(administrators: TheAdministrators, token: Annotated[str, Depends(token_of)]) -> str:
    """Return the name of the administrator who calls. Raises TokenMissing, TokenInvalid."""
    return administrators.whose(token)


def administered(path: str, tag: str) -> APIRouter:
    """Return a router whose every operation asks for an administrator's token."""
    return APIRouter(prefix=PREFIX + path, tags=[tag], dependencies=[Depends(administrator)], responses=problems(401))
