"""One application of two, of which the pages are made when they are first asked for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.types import Message

from qreplica.ui.lazily import WithPages


class Site:
    """What is made, and how often."""

    def __init__(self) -> None:
        self.made = 0
        self.lives = False

    def make(self, rest: FastAPI) -> FastAPI:
        self.made += 1
        time.sleep(0.05)  # as long as loading takes, others may ask
        site = FastAPI(lifespan=self._live)
        site.add_api_route("/{path:path}", lambda path: f"page {path} of {rest.title}")
        return site

    @asynccontextmanager
    async def _live(self, _: FastAPI) -> AsyncIterator[None]:
        self.lives = True
        yield
        self.lives = False


def application(site: Site) -> WithPages:
    rest = FastAPI(title="rest")
    rest.add_api_route("/api/v1/jobs", lambda: "jobs")
    rest.add_api_route("/metrics", lambda: "metrics")
    return WithPages(rest, site.make)


async def _answers(app: WithPages, *paths: str) -> list[object]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://controller") as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
        return [answer.json() for answer in answers]


def test_programs_make_no_pages() -> None:
    site = Site()
    assert asyncio.run(_answers(application(site), "/api/v1/jobs", "/metrics")) == ["jobs", "metrics"]
    assert site.made == 0


def test_several_browsers_at_once_make_the_pages_once() -> None:
    site = Site()
    found = asyncio.run(_answers(application(site), "/", "/qreplica", "/apiary", "/"))
    assert found == ["page  of rest", "page qreplica of rest", "page apiary of rest", "page  of rest"]
    assert site.made == 1


def test_what_the_pages_run_ends_with_the_server() -> None:
    site = Site()

    async def live() -> None:
        app, sent = application(site), []
        said: asyncio.Queue[Message] = asyncio.Queue()

        async def send(message: Message) -> None:
            sent.append(message["type"])

        server = asyncio.create_task(app({"type": "lifespan"}, said.get, send))
        await said.put({"type": "lifespan.startup"})
        await _answers(app, "/")
        assert site.lives
        await said.put({"type": "lifespan.shutdown"})
        await server
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(live())
    assert not site.lives
