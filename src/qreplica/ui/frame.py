"""What all pages have around them, and that nobody sees one without a login."""

import functools
import html
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import nicegui
from fastapi import Request
from nicegui import ui
from starlette.responses import RedirectResponse, Response

from qreplica.ui import login, menus, wording
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Rest

#: Seconds that a page may take to be made, on a machine that is busy elsewhere; nobody sees anything before.
_PATIENCE: Final = 60.0
#: Where everybody finds their own password and logins.
ACCOUNT: Final = "/maintenance"
_LOOK: Final = (Path(__file__).parent / "look.css").read_text()


class Entry(NamedTuple):
    """An entry of the menu."""

    label: str
    path: str
    icon: str
    needs_license: bool = False


_MENU: Final = (
    Entry("Overview", "/", "dashboard"),
    Entry("QReplica", "/qreplica", "sync_alt", needs_license=True),
    Entry("Storage", "/storage", "storage"),
    Entry("Network", "/network", "lan"),
    Entry("QReplica license", "/license", "workspace_premium"),
    Entry("Maintenance", ACCOUNT, "build"),
)

Build = Callable[..., Awaitable[None]]


def stranger(request: Request) -> Rest:
    """Return the API as nobody in particular may use it."""
    return Rest(nicegui.app.state.rest, None, login.address_of(request))


def page(path: str, title: str) -> Callable[[Build], Build]:
    """Make ``build(here, ...)`` the page at ``path``; a browser without a login is sent to log in."""

    def made(build: Build) -> Build:
        async def shown(request: Request, **values: Any) -> Response | None:  # noqa: ANN401 - the path's parameters
            here = await Looking.begin(nicegui.app.state.rest, request)
            if here is None:
                return RedirectResponse(login.LOGIN, 303)
            with _around(here, title):
                await build(here, **values)
            return None

        # Which parameters of the path to pass on, NiceGUI sees by the signature.
        signature = inspect.signature(build)
        first, *values = signature.parameters.values()
        asked = [first.replace(name="request", annotation=Request), *values]
        shown.__signature__ = signature.replace(  # type: ignore[attr-defined] # as inspect documents
            parameters=asked, return_annotation=inspect.Signature.empty
        )
        ui.page(path, title=f"{title} · QReplica", response_timeout=_PATIENCE)(shown)
        return build

    return made


def _look() -> None:
    """Give a page the site's look; dark or light is what the browser wants."""
    ui.add_css(_LOOK)
    ui.colors(primary="#1f5fae", positive="#1b7a3d", negative="#b3261e", warning="#8a5a00", info="#1f5fae")
    ui.dark_mode(value=None)


def bare(title: str) -> None:
    """Begin a page for nobody in particular."""
    _look()
    heading(title, 1)


@contextmanager
def _around(here: Looking, title: str) -> Iterator[None]:
    _look()
    with ui.header().classes("frame-head"):
        drawer = ui.button(icon="menu").props('flat round color=white aria-label="Menu"')
        ui.label("QReplica").classes("frame-name")
        ui.label(here.subsystem).classes("frame-subsystem")
        ui.space()
        other = ui.button(icon="dark_mode", on_click=lambda: ui.run_javascript("Quasar.Dark.toggle()"))
        other.props('flat round color=white aria-label="Dark or light"')
        with ui.button(here.user, icon="person").props("flat no-caps color=white"), ui.menu():
            ui.item(f"Role: {here.role}").props(f"disable {menus.ENTRY}")
            menus.choice("Your account", lambda: ui.navigate.to(ACCOUNT))
            menus.choice("REST API description", lambda: ui.navigate.to("/api/v1/openapi.json", new_tab=True))
            menus.choice("Log out", functools.partial(_log_out, here))
    with ui.left_drawer(bordered=True).props("width=250 breakpoint=900") as menu:
        _entries(here)
    drawer.on_click(menu.toggle)
    with ui.element("div").classes("frame-main"):
        heading(title, 1)
        yield


def _entries(here: Looking) -> None:
    with ui.element("nav").classes("frame-menu").props('aria-label="Pages"'):
        for entry in _MENU:
            if not entry.needs_license or here.has_qreplica:
                with ui.link(target=entry.path):
                    ui.icon(entry.icon).props("aria-hidden=true")
                    ui.label(entry.label)


async def _log_out(here: Looking) -> None:
    await here.attempt(here.rest.post("logout"))
    ui.navigate.to("/logged-out")


def heading(text: str, level: int = 2) -> None:
    """Show a heading; its text may come from anywhere."""
    ui.html(html.escape(text), sanitize=False, tag=f"h{level}")


def chip(state: str) -> None:
    """Show a state by its word, in its colour."""
    ui.badge(state, color=wording.colour(state)).classes("chip")


def empty(sentence: str) -> None:
    """Say why there is nothing, and what to do."""
    with ui.row().classes("empty"):
        ui.icon("info")
        ui.label(sentence)


def sections(name: str, labels: Mapping[str, str], present: str) -> None:
    """Show the way between pages that belong together, whose ``labels`` go by their paths; one of them is shown."""
    with ui.element("nav").classes("sections").props(f'aria-label="{name}"'):
        for path, label in labels.items():
            way = ui.link(label, path)
            if path == present:
                way.props("aria-current=page")


def link(*parts: str) -> str:
    """Return the path of a page from names, which may hold anything."""
    return "/" + "/".join(quote(part, safe="") for part in parts)
