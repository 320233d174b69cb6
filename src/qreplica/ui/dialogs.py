"""Dialogs that ask before something is done."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import ui

from qreplica.ui.frame import heading
from qreplica.ui.looking import Looking

Act = Callable[[], Awaitable[Any]]


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """Open a dialog for what is made in the block; it is gone when it was closed."""
    # Not where it is asked for: a menu that asks may be gone before.
    with ui.context.client.content, ui.dialog(value=True).props("persistent") as made, ui.card().classes("dialog"):
        made.props["aria-label"] = title
        heading(title)
        yield made
    made.on("hide", made.delete)


def buttons(here: Looking, made: ui.dialog, label: str, act: Act, done: str) -> ui.button:
    """Add what cancels a dialog and, to be returned, what does it; done, it tells so and closes, else says why not."""
    wrong = ui.label().classes("text-negative").props("role=alert")

    async def go_on() -> None:
        button.disable()
        wrong.text = ""
        if await here.attempt(act(), done, refused=wrong.set_text):
            made.close()
        else:
            button.enable()

    with ui.row().classes("self-end"):
        ui.button("Cancel", on_click=made.close).props("flat")
        button = ui.button(label, on_click=go_on)
    return button


def confirm(here: Looking, title: str, sentence: str, label: str, act: Act, *, done: str) -> None:
    """Ask whether to ``act``; tell what became of it."""
    with dialog(title) as made:
        ui.label(sentence)
        buttons(here, made, label, act, done)


def confirm_loss(here: Looking, title: str, sentence: str, name: str, act: Act, *, done: str) -> None:
    """Ask whether to ``act``, by which something is lost for good: it can be done once ``name`` was typed."""
    with dialog(title) as made:
        ui.label(sentence)
        typed = ui.input(f"Type “{name}” to confirm")
        button = buttons(here, made, title, act, done).props("color=negative")
        button.bind_enabled_from(typed, "value", lambda value: value == name)
