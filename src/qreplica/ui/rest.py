"""Asks the REST API in the same process: every step of a page is let in by role, checked and audited as any other."""

from typing import Any, Final
from urllib.parse import quote

import httpx
from fastapi import FastAPI

_UNAUTHORISED: Final = 401


class Refused(Exception):
    """The API refused: ``sentence`` says what happened, why, and what to do; ``places`` what is wrong where."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.sentence = str(problem["detail"])
        self.kind = str(problem["type"]).rpartition(":")[2]
        self.places: dict[str, str] = {one["place"]: one["message"] for one in problem.get("places", [])}


class LoggedOut(Refused):
    """The login has ended."""


class Rest:
    """The API as the holder of ``token`` may use it, from ``address``. Raises Refused, LoggedOut."""

    def __init__(self, application: FastAPI, token: str | None, address: str) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(application, client=(address, 0)),
            base_url="http://controller/api/v1",
            headers=headers,
        )

    async def get(self, *parts: object, **query: Any) -> Any:  # noqa: ANN401 - JSON
        """Return what is at the path of ``parts``."""
        return await self._ask("GET", parts, params=query)

    async def post(self, *parts: object, body: object = None, content: bytes | None = None, **query: Any) -> Any:  # noqa: ANN401
        """Make or begin something."""
        return await self._ask("POST", parts, json=body, content=content, params=query)

    async def put(self, *parts: object, body: object = None, **query: Any) -> Any:  # noqa: ANN401 - JSON
        """Set something."""
        return await self._ask("PUT", parts, json=body, params=query)

    async def patch(self, *parts: object, body: object) -> Any:  # noqa: ANN401 - JSON
        """Change something."""
        return await self._ask("PATCH", parts, json=body)

    async def delete(self, *parts: object, **query: Any) -> None:  # noqa: ANN401
        """Take something away."""
        await self._ask("DELETE", parts, params=query)

    async def _ask(self, method: str, parts: tuple[object, ...], **more: Any) -> Any:  # noqa: ANN401
        path = "/" + "/".join(quote(str(part), safe="") for part in parts)
        answer = await self._http.request(method, path, **more)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise (LoggedOut if answer.status_code == _UNAUTHORISED else Refused)(answer.json())
