"""The site: all pages in one application."""

from collections.abc import Awaitable, Callable

import nicegui
from fastapi import FastAPI, Request
from nicegui import ui
from starlette.responses import Response

from qreplica.ui import downloads, login
from qreplica.ui.pages import (  # noqa: F401 - each makes its pages
    entrance,
    failover,
    job,
    license_,
    maintenance,
    network,
    node,
    overview,
    qreplica,
    raid_group,
    storage,
    virtual_disk,
)

#: Pages load nothing from elsewhere, and stand in no other site's frame. NiceGUI's pages need the two “unsafe” ones.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
)


def make_pages(rest: FastAPI) -> FastAPI:
    """Return the application of the pages, which ask ``rest``. Possible once in a process."""
    site = FastAPI(openapi_url=None)
    nicegui.app.state.rest = rest
    site.include_router(login.router)
    site.include_router(downloads.router)

    @site.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(
            {
                "Content-Security-Policy": _POLICY,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
            }
        )
        return response

    ui.run_with(site, title="QReplica", favicon="🔁", language="en-US", tailwind=False, show_welcome_message=False)
    return site
