"""What every operation goes through: whoever calls is let in by role, and what changes something is audited.

It happens before anything of the body is read. ``guarded`` routers and ``opened`` ones have it; there are no others.
"""

import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from qreplica.access.audit import Action, Audit, Outcome
from qreplica.access.errors import RoleTooLow, TokenMissing
from qreplica.access.roles import Role
from qreplica.access.sessions import Caller, Sessions
from qreplica.access.users import is_user_name
from qreplica.api.fields import Strict
from qreplica.api.problems import outcome_of, problems

#: Where the OpenAPI description says which role an operation needs.
LEAST_ROLE: Final = "x-least-role"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Of requests by nobody in particular only these answers are noted; a flood of others must not fill the log.
_NOTED_OF_STRANGERS = frozenset({200, 204, 401, 403})
_NEEDS = "_qreplica_needs"

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])
_bearer = HTTPBearer(auto_error=False, description="What `POST /api/v1/login` or `/account/tokens` gave")


def needs(role: Role) -> Callable[[_Endpoint], _Endpoint]:
    """Say that this operation needs ``role``, whatever its router says."""

    def mark(endpoint: _Endpoint) -> _Endpoint:
        setattr(endpoint, _NEEDS, role)
        return endpoint

    return mark


def token_of(request: Request) -> str:
    """Return the token that the request carries. Raises TokenMissing."""
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing
    return token


def address_of(request: Request) -> str | None:
    """Return where the request came from."""
    return request.client.host if request.client else None


class Operation(APIRoute):
    """A route whose ``LEAST_ROLE`` is asked for; one without is open to everybody."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with what goes before and after it."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            least = (self.openapi_extra or {}).get(LEAST_ROLE)
            if least is not None:
                request.state.caller = await run_in_threadpool(self._let_in, request, Role(least))
            if request.method in _READING:
                return await handle(request)
            return await self._audited(request, handle)

        return handled

    def _let_in(self, request: Request, least: Role) -> Caller:
        """Return who calls. Raises TokenMissing, TokenInvalid, RoleTooLow."""
        sessions: Sessions = request.app.state.sessions
        caller = sessions.caller(token_of(request), address_of(request))
        if not caller.role.may(least):
            refused = RoleTooLow(operation=self.name, needed=least, user=caller.user, role=caller.role)
            audit: Audit = request.app.state.audit
            audit.note(address_of(request), self._action(request), outcome_of(refused), caller=caller)
            raise refused
        return caller

    async def _audited(self, request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
        audit: Audit = request.app.state.audit
        asked = await self._asked(request)
        action, address = self._action(request, asked), address_of(request)
        caller: Caller | None = getattr(request.state, "caller", None)
        number = None if caller is None else await run_in_threadpool(audit.begin, caller, address, action)

        async def write(outcome: Outcome) -> None:
            if number is not None:
                await run_in_threadpool(audit.end, number, outcome)
            elif outcome.status in _NOTED_OF_STRANGERS:
                claimed = str(asked.get("name", ""))
                known = claimed if is_user_name(claimed) else None
                await run_in_threadpool(audit.note, address, action, outcome, claimed=known)

        try:
            response = await handle(request)
        except Exception as error:
            await write(outcome_of(error))
            raise
        await write(Outcome(response.status_code))
        return response

    def _action(self, request: Request, asked: dict[str, Any] | None = None) -> Action:
        query = f"?{request.url.query}" if request.url.query else ""
        path: bytes = request.scope.get("raw_path") or request.url.path.encode()
        subject = path.decode("ascii", errors="replace") + query
        return Action(self.name, subject, json.dumps(asked, ensure_ascii=False, default=str) if asked else None)

    async def _asked(self, request: Request) -> dict[str, Any]:
        """Return the members of a valid body, but for secrets; of what is not understood nothing is kept."""
        model = None if self.body_field is None else self.body_field.field_info.annotation
        if not (isinstance(model, type) and issubclass(model, Strict)):
            return {}
        # What is wrong with the body is told by the handler, which reads it again.
        with suppress(ClientDisconnect, ValueError, RecursionError):
            given = model.model_validate(json.loads(await request.body()))
            members: dict[str, Any] = _without_secrets(given.model_dump(exclude_unset=True))
            return members
        return {}


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - whatever a body holds
    if isinstance(value, dict):
        return {key: _without_secrets(one) for key, one in value.items() if not isinstance(one, SecretStr)}
    if isinstance(value, list | tuple):
        return [_without_secrets(one) for one in value if not isinstance(one, SecretStr)]
    return value


class _Guarded(APIRouter):
    """A router whose every operation needs a role, and says so in its description."""

    def __init__(self, prefix: str, tag: str, reads: Role, changes: Role) -> None:
        super().__init__(
            prefix=prefix,
            tags=[tag],
            dependencies=[Depends(_bearer)],
            responses=problems(401, 403),
            route_class=Operation,
        )
        self._reads, self._changes = reads, changes

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:  # noqa: ANN401
        """Add an operation; that it needs a role cannot be left out."""
        methods = set(settings.get("methods") or {"GET"})
        least: Role = getattr(endpoint, _NEEDS, self._reads if methods <= _READING else self._changes)
        settings["openapi_extra"] = {**(settings.get("openapi_extra") or {}), LEAST_ROLE: least.value}
        super().add_api_route(path, endpoint, **settings)


def guarded(prefix: str, tag: str, *, reads: Role, changes: Role) -> APIRouter:
    """Return a router whose operations that read need the role ``reads``, and those that change ``changes``."""
    return _Guarded(prefix, tag, reads, changes)


def opened(prefix: str, tag: str) -> APIRouter:
    """Return a router whose operations need no token; they stand in ``access.OPEN``."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Operation)
