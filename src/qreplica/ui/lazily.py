"""One application of two: the REST API, and the pages, which are loaded when a browser first asks for one.

So a controller that nobody looks at starts as fast, and is as small, as one without pages.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

#: Where the REST API answers; everything else is pages.
_REST: Final = ("/api/", "/metrics")


class WithPages:
    """An ASGI application that hands ``rest`` what is REST's, and the rest to what ``make_pages`` returns."""

    def __init__(self, rest: FastAPI, make_pages: Callable[[FastAPI], FastAPI]) -> None:
        self._rest = rest
        self._make_pages = make_pages
        self._pages: FastAPI | None = None
        self._making = asyncio.Lock()
        self._ending = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        application: ASGIApp = self._rest if self._is_rest(scope) else await self._loaded()
        await application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Begin at once, and end with what the pages run, if they were asked for."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._ending.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    @staticmethod
    def _is_rest(scope: Scope) -> bool:
        return scope["type"] == "http" and str(scope["path"]).startswith(_REST)

    async def _loaded(self) -> FastAPI:
        async with self._making:
            if self._pages is None:
                pages = await run_in_threadpool(self._make_pages, self._rest)
                await self._ending.enter_async_context(pages.router.lifespan_context(pages))
                self._pages = pages
        return self._pages
