"""Dialogs that ask before something is done."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

from qreplica.ui.frame import heading
from qreplica.ui.looking import Looking
from qreplica.ui.menus import ENTRY
from qreplica.ui.rest import Refused

Act = Callable[[], Awaitable[Any]]
#: Something that can be done: what it is called, and what begins it.
Offer = tuple[str, Callable[[], object]]
#: What is asked for in a dialog, by the API's names.
Inputs = Mapping[str, ValidationElement[Any]]


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """Open a dialog for what is made in the block; it is gone when it was closed."""
    # Not where it is asked for: a menu that asks may be gone before.
    with ui.context.client.content, ui.dialog(value=True).props("persistent") as made, ui.card().classes("dialog"):
        made.props["aria-label"] = title
        heading(title)
        yield made
    made.on("hide", made.delete)


def choose(here: Looking, title: str, offered: Sequence[Offer], none: str) -> None:
    """Offer in a dialog what can be done; say ``none`` when that is nothing."""
    with dialog(title) as made:
        with ui.list().props("bordered separator role=menu").classes("full-width"):
            for label, what in offered:
                with ui.item(on_click=partial(_then, here, made, what)).props(f"clickable {ENTRY}"), ui.item_section():
                    ui.label(label)
        if not offered:
            ui.label(none)
        ui.button("Close", on_click=made.close).props("flat").classes("self-end")


async def _then(here: Looking, made: ui.dialog, what: Callable[[], object]) -> None:
    await _begin(here, what)
    made.close()


async def _begin(here: Looking, what: Callable[[], object]) -> None:
    if isinstance(opening := what(), Awaitable):
        await here.attempt(opening)


def offer(here: Looking, offered: Sequence[Offer]) -> None:
    """Offer what can be done, a button for each."""
    if offered:
        with ui.row().classes("offers"):
            for label, what in offered:
                ui.button(label, on_click=partial(_begin, here, what)).props("outline no-caps")


def buttons(
    here: Looking, made: ui.dialog, label: str, act: Act, done: str | None, *, inputs: Inputs | None = None
) -> ui.button:
    """Add what cancels a dialog and, to be returned, what does it; done, it tells so and closes.

    Why it was refused is told at those ``inputs`` that the API names, or else above the buttons.
    """
    asked = inputs or {}
    wrong = ui.label().classes("text-negative").props("role=alert")

    def refuse(refused: Refused) -> None:
        told = {place.removeprefix("body.").partition(".")[0]: what for place, what in refused.places.items()}
        for place, one in asked.items():
            one.error = told.get(place)
        if not told or not told.keys() <= asked.keys():
            wrong.text = refused.sentence

    async def go_on() -> None:
        if not button.enabled:
            return
        button.disable()
        wrong.text = ""
        for one in asked.values():
            one.error = None
        if await here.attempt(act(), done, refuse):
            made.close()
        else:
            button.enable()

    with ui.row().classes("self-end"):
        ui.button("Cancel", on_click=made.close).props("flat")
        button = ui.button(label, on_click=go_on)
    for one in asked.values():
        if isinstance(one, ui.input | ui.number):
            one.on("keydown.enter", go_on)
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
        typed = name_again(name)
        button = buttons(here, made, title, act, done).props("color=negative")
        button.bind_enabled_from(typed, "value", lambda value: value == name)


def name_again(name: str) -> ui.input:
    """Ask for a name, which stands for having read what will be lost."""
    return ui.input(f"Type “{name}” to confirm").props("autocomplete=off").classes("full-width")
