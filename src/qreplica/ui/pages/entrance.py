"""Logging in, and the first start, on which there is nobody yet who could."""

from fastapi import Request
from nicegui import ui
from starlette.responses import RedirectResponse, Response

from qreplica.access import tickets
from qreplica.ui import frame, login
from qreplica.ui.rest import Refused


@ui.page(login.LOGIN, title="Log in · QReplica")
async def log_in(request: Request) -> Response | None:
    """Ask for name and password."""
    rest = frame.stranger(request)
    if (await rest.get("setup"))["needed"]:
        return RedirectResponse("/setup", 303)
    with ui.card().classes("narrow"):
        frame.bare("Log in to QReplica")
        name = ui.input("Name").props("autofocus autocomplete=username")
        password = ui.input("Password", password=True).props("autocomplete=current-password")
        wrong = ui.label().classes("text-negative").props("role=alert")

        async def enter() -> None:
            try:
                answer = await rest.post("login", body={"name": name.value, "password": password.value})
            except Refused as refused:
                wrong.text = refused.sentence
                password.value = ""
            else:
                ui.navigate.to(tickets.give(answer["token"]))

        password.on("keydown.enter", enter)
        ui.button("Log in", on_click=enter)
    return None


@ui.page("/setup", title="First start · QReplica")
async def set_up(request: Request) -> Response | None:
    """Make the first administrator."""
    rest = frame.stranger(request)
    needed = await rest.get("setup")
    if not needed["needed"]:
        return RedirectResponse(login.LOGIN, 303)
    with ui.card().classes("narrow"):
        frame.bare("First start")
        ui.label("Nobody can log in yet. Make the first administrator of this subsystem.")
        secret = ui.input("One-time secret", password=True).props(f'autofocus hint="It is in {needed["file"]}"')
        name = ui.input("Name", value="admin").props("autocomplete=username")
        password = ui.input("Password", password=True, password_toggle_button=True).props(
            'autocomplete=new-password hint="At least 12 characters"'
        )
        again = ui.input("Password again", password=True).props("autocomplete=new-password")
        wrong = ui.label().classes("text-negative").props("role=alert")

        async def make() -> None:
            if password.value != again.value:
                wrong.text = "The two passwords differ: type the same one twice."
                return
            given = {"name": name.value, "password": password.value}
            try:
                await rest.post("setup", body={"setup_secret": secret.value, **given})
                answer = await rest.post("login", body=given)
            except Refused as refused:
                wrong.text = refused.sentence
            else:
                ui.navigate.to(tickets.give(answer["token"]))

        ui.button("Make the administrator", on_click=make)
    return None
